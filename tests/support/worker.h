/*
 * A worker of the tests' own: a program that speaks the protocol (docs/worker-protocol.md), and
 * misbehaves on command in each way that a worker can.
 *
 *     int main(int argc, char **argv)
 *     {
 *         if (worker_is_meant(argc, argv))
 *             return worker_main(argc, argv);          // the test was started again, as a worker
 *     ...
 *     options.argv = (char *[]){worker_program(), WORKER_WORD, "max_in_flight=16", NULL};
 *
 * So a test binary is its own worker, and nothing has to be found. What it does is said by the
 * words behind WORKER_WORD, from its start on, and by the command of each request: see worker.c.
 */
#ifndef SUPPORT_WORKER_H
#define SUPPORT_WORKER_H

#include <stdbool.h>

#define WORKER_WORD "--as-worker"

bool worker_is_meant(int argc, char **argv);
int worker_main(int argc, char **argv);
/* The path of the running program; constant. */
char *worker_program(void);

#endif
