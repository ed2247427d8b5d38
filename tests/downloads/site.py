"""A server on this machine that misbehaves as it is told."""

from collections.abc import Iterator
import contextlib
import hashlib
import http.server
import re
import threading
from typing import NamedTuple
from unittest import mock

from twotsrec.downloads import fetching

AT_ONCE = fetching.Manner(tries=3, wait=0.0, timeout=10.0, quiet=True)


class Asked(NamedTuple):
  """A request, and how many bytes of a file were sent."""

  path: str
  range: str | None
  if_range: str | None
  sent: int


class Site:
  """Files by path, and what goes wrong with them."""

  def __init__(self) -> None:
    self.files: dict[str, bytes] = {}
    self.ranges = True  # 206 for the rest of a file
    self.checks = True  # compares If-Range
    self.tells_length = True
    self.tags: dict[str, str | None] = {}  # path -> ETag; else a strong one
    # How many bytes are sent before the connection is cut; then all.
    self.cuts: list[int] = []
    self.codes: list[int] = []  # answers before a file is sent
    self.asked: list[Asked] = []
    self.moved: dict[str, str] = {}  # path -> where it is now
    self.paused: threading.Event | None = None  # a cut waits for it
    self.address = ''

  def source(self, path: str, *checked: str, **known) -> fetching.Source:
    """A file of the site; `checked` are digests to compare: 'md5', ..."""
    content = self.files.get(path, b'')
    return fetching.Source(
      address=self.address + path,
      page='https://example.org/terms',
      name=path.rpartition('/')[2],
      digests=tuple(
        f'{kind}:{hashlib.new(kind, content).hexdigest()}' for kind in checked
      ),
      **known,
    )

  def tag(self, path: str) -> str | None:
    """The ETag of a file."""
    digest = hashlib.sha256(self.files[path]).hexdigest()[:16]
    return self.tags.get(path, f'"{digest}"')


class _Handler(http.server.BaseHTTPRequestHandler):
  site: Site
  protocol_version = 'HTTP/1.1'

  def do_GET(self):
    site = self.site
    code = site.codes.pop(0) if site.codes else 0
    if self.path in site.moved:
      return self._plain(302, Location=site.moved[self.path])
    if code or self.path not in site.files:
      return self._plain(code or 404)
    content, tag = site.files[self.path], site.tag(self.path)
    begin, status = 0, 200
    asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
    same = not site.checks or self.headers.get('If-Range') == tag
    if asked and site.ranges and same:
      begin, status = int(asked[1]), 206
      if begin >= len(content):
        return self._plain(416)
    body = content[begin:]
    cut = site.cuts.pop(0) if site.cuts else len(body)
    self._note(len(body[:cut]))
    self.send_response(status)
    if tag:
      self.send_header('ETag', tag)
    if status == 206:
      last = len(content) - 1
      self.send_header('Content-Range', f'bytes {begin}-{last}/{len(content)}')
    if site.tells_length:
      self.send_header('Content-Length', str(len(content) - begin))
    self.send_header('Connection', 'close')
    self.end_headers()
    with contextlib.suppress(OSError):  # whoever asked may have gone
      self.wfile.write(body[:cut])
      self.wfile.flush()
    if cut < len(body) and site.paused:
      site.paused.wait(60)
    self.close_connection = True

  def _plain(self, code, **headers):
    self._note(0)
    self.send_response(code)
    self.send_header('Content-Length', '0')
    for name, value in headers.items():
      self.send_header(name, value)
    self.end_headers()

  def _note(self, sent):
    told = self.headers.get('Range'), self.headers.get('If-Range')
    self.site.asked.append(Asked(self.path, *told, sent))

  def log_message(self, *parts):
    pass


@contextlib.contextmanager
def running() -> Iterator[Site]:
  """A site of its own port, without a proxy between."""
  site = Site()
  handler = type('Handler', (_Handler,), {'site': site})
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
  server.daemon_threads = True
  site.address = f'http://127.0.0.1:{server.server_port}'
  thread = threading.Thread(target=server.serve_forever, args=(0.05,))
  thread.start()
  try:
    with mock.patch.dict('os.environ', {'no_proxy': '*'}):
      yield site
  finally:
    if site.paused:
      site.paused.set()
    server.shutdown()
    server.server_close()
    thread.join()
