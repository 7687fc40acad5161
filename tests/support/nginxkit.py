"""nginx from Debian in a folder of its own, on a free port, run by whoever runs the test.

    nginx = Nginx(folder, http="limit_req_zone ...;", server="location / { ... }")
    nginx.reload(server="...")         # what SIGHUP does in production; waits until it holds
    nginx.calls()                      # the access log: one dict per request
    nginx.stop()

In a server's text INNER is the address of a second server, which answers everything with what it was asked.
"""
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess

from runkit import stop_process
from weirtest import free_port, wait_for_port, wait_until

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

CONFIG = """
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    keepalive_requests 1000000;
    client_max_body_size 64m;
    log_format calls escape=json '{{"port":$server_port,"status":$status,"uri":"$request_uri","key":"$http_idempotency_key","time":$msec}}';
    access_log {log};
    {http}
    server {{
        listen 127.0.0.1:{port}{listen};
        location = /generation {{ access_log off; return 200 '{{"generation":{generation}}}'; }}
        {server}
    }}
    server {{
        # What the limits stand in front of: limit_req does not hold for a `return`, which comes before it.
        listen 127.0.0.1:{inner};
        access_log off;
        location / {{ return 200 '{{"uri":"$request_uri","method":"$request_method","key":"$http_idempotency_key"}}'; }}
    }}
}}
"""


class Nginx:
    """One nginx with one server in front of another that answers everything."""

    def __init__(self, folder, http="", server="", listen="", tls=False, log=True):
        self.folder = os.path.join(folder, "nginx")
        os.makedirs(self.folder)
        self.port, self.inner = free_port(), free_port()
        self.http, self.listen, self.tls, self.log = http, listen, tls, log
        self.generation = 0
        self.origin = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self.configure(server)
        with open(os.path.join(self.folder, "stderr"), "wb") as err:
            self.process = subprocess.Popen(
                [NGINX, "-p", self.folder, "-c", "nginx.conf", "-e", os.path.join(self.folder, "error.log")],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
        try:
            wait_for_port(self.port)
        except BaseException:
            self.stop()
            with open(os.path.join(self.folder, "stderr"), encoding="utf-8") as err:
                raise AssertionError(f"nginx does not start: {err.read()}") from None

    def configure(self, server):
        self.generation += 1
        # A master that is root gives its workers to another user unless told not to; the folder is its own.
        user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""
        with open(os.path.join(self.folder, "nginx.conf"), "w", encoding="ascii") as f:
            f.write(CONFIG.format(
                user=user, folder=self.folder, http=self.http, port=self.port, inner=self.inner, server=server.replace("INNER", f"http://127.0.0.1:{self.inner}"),
                listen=self.listen, generation=self.generation,
                log=f"{self.folder}/access.log calls" if self.log else "off"))

    def reload(self, server):
        """Changes the server's configuration while it serves."""
        self.configure(server)
        self.process.send_signal(signal.SIGHUP)
        # The old worker takes connections too for a moment; several answers in a row are the new one's.
        wait_until(lambda: all(self.ask_generation() == self.generation for _ in range(8)), 10, "nginx to reload")

    def ask_generation(self):
        if self.tls:
            return self.generation
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(b"GET /generation HTTP/1.0\r\n\r\n")
            answer = b""
            while chunk := s.recv(4096):
                answer += chunk
        return json.loads(answer.split(b"\r\n\r\n")[1])["generation"]

    def calls(self):
        path = os.path.join(self.folder, "access.log")
        if not os.path.exists(path):
            return []
        with open(path, encoding="ascii") as f:
            return [json.loads(line) for line in f.read().splitlines()]

    def stop(self):
        stop_process(self.process)
