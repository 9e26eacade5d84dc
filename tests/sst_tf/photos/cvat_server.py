# SPDX-License-Identifier: Apache-2.0
"""As much of a CVAT server as `cvat_sdk.auto_annotation.annotate_task` talks to: one task."""

import contextlib
import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WHEN = "2026-01-01T00:00:00.000000Z"


class Server(ThreadingHTTPServer):
    """A task of photos.

    Args:
        photos: {name: (bytes of the picture, (width, height))}.
        labels: [(name, type)].

    Attributes:
        annotations: what was sent, [(action, content)].
    """

    def __init__(self, photos, labels):
        super().__init__(("127.0.0.1", 0), Handler)
        self.photos, self.labels, self.annotations = photos, labels, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, path, query):
        """Content of a GET: JSON, or the bytes of a chunk."""
        size = len(self.photos)
        if path == "/api/server/about":
            from cvat_sdk.version import VERSION
            return {"name": "CVAT", "version": VERSION, "description": "", "logo_url": "",
                    "subtitle": ""}
        if path == "/api/labels":
            return {"count": len(self.labels), "next": None, "previous": None, "results": [
                {"id": 100 + number, "name": name, "type": kind, "color": "#aa0000",
                 "attributes": [], "sublabels": [], "task_id": 1, "has_parent": False}
                for number, (name, kind) in enumerate(self.labels)]}
        if path == "/api/tasks/1":
            return {"id": 1, "url": f"{self.url}/api/tasks/1", "name": "mugs", "size": size,
                    "mode": "annotation", "media_type": "image", "dimension": "2d",
                    "data": 1, "data_chunk_size": 72, "data_original_chunk_type": "imageset",
                    "data_compressed_chunk_type": "imageset", "created_date": WHEN,
                    "updated_date": WHEN, "status": "annotation", "subset": "", "overlap": 0,
                    "segment_size": size, "bug_tracker": "", "project_id": None,
                    "owner": None, "assignee": None, "organization": None,
                    "jobs": {"count": 1, "completed": 0, "validation": 0, "url": self.url},
                    "labels": {"url": f"{self.url}/api/labels?task_id=1"}}
        if path == "/api/tasks/1/data/meta":
            return {"size": size, "chunk_size": 72, "chunks_updated_date": WHEN,
                    "image_quality": 70, "start_frame": 0, "stop_frame": size - 1,
                    "frame_filter": "", "deleted_frames": [],
                    "included_frames": None, "chapters": None, "frames": [
                        {"name": name, "width": width, "height": height, "related_files": 0}
                        for name, (_, (width, height)) in self.photos.items()]}
        if path == "/api/tasks/1/data" and query["type"] == ["chunk"]:
            chunk = io.BytesIO()
            with zipfile.ZipFile(chunk, "w") as archive:
                for number, (data, _) in enumerate(self.photos.values()):
                    archive.writestr(f"{number:06d}.png", data)
            return chunk.getvalue()
        return None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        self.send(self.server.answer(parts.path.rstrip("/"), parse_qs(parts.query)))

    def do_PATCH(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not re.match("/api/tasks/1/annotations", self.path):
            return self.send(None)
        self.server.annotations.append((parse_qs(urlsplit(self.path).query)["action"], content))
        return self.send({"version": 1, **content})

    def send(self, content):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", "application/zip" if isinstance(content, bytes)
                         else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(photos, labels):
    server = Server(photos, labels)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
