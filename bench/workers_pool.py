"""The same messages through Python's multiprocessing: a pool of two processes, two calls in flight.

    workers_pool.py BYTES MESSAGES
"""
import multiprocessing
import sys
import threading
import time

WORKERS = 2


def echo(message):
    return message


def main():
    size, count = int(sys.argv[1]), int(sys.argv[2])
    message = "x" * size
    lock, over = threading.Lock(), threading.Event()
    started = ended = 0

    def start_one():
        nonlocal started
        with lock:
            if started == count:
                return
            started += 1
        pool.apply_async(echo, (message,), callback=end_one, error_callback=fail)

    def end_one(result):
        nonlocal ended
        if len(result) != size:
            fail("a result is not as it must be")
        ended += 1
        if ended == count:
            over.set()
        start_one()

    def fail(error):
        print(error, file=sys.stderr)
        over.set()

    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(echo, [message] * 10, chunksize=1)
        start_s = time.perf_counter()
        for _ in range(WORKERS):
            start_one()
        over.wait()
        print("rows_per_s", count / (time.perf_counter() - start_s))
    return 0 if ended == count else 1


if __name__ == "__main__":
    sys.exit(main())
