"""A small real use of each package, the same on its old and its new release.

A thread repeats it while the patch comes and goes.

Each raises where the package does not do its work. What it makes at first (a server, an application, a session) it
keeps, so that most rounds use objects that were alive before the load.
"""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import os
import socket
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any


def werkzeug() -> None:
    from werkzeug.test import Client

    client = _werkzeug_client(Client)
    answer = client.post("/item/7", data={"name": "x", "file": (io.BytesIO(b"content"), "a.txt")})
    assert (answer.status_code, answer.text) == (200, "7 x content"), answer.text
    assert client.get("/nowhere").status_code == 404


@cache
def _werkzeug_client(client: Any) -> Any:
    from werkzeug.routing import Map, Rule
    from werkzeug.security import check_password_hash, generate_password_hash
    from werkzeug.wrappers import Request, Response

    assert check_password_hash(generate_password_hash("a", "pbkdf2:sha256:2"), "a")
    rules = Map([Rule("/item/<int:number>", endpoint="item")])

    @Request.application
    def application(request: Any) -> Any:
        from werkzeug.exceptions import HTTPException

        try:
            _, values = rules.bind_to_environ(request.environ).match()
        except HTTPException as error:
            return error
        return Response(f"{values['number']} {request.form['name']} {request.files['file'].read().decode()}")

    return client(application)


def jinja2() -> None:
    assert _template().render(items=[1, "<b>"], d={"class": "c"}) == '1;&lt;b&gt;; class="c"'


@cache
def _template() -> Any:
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(autoescape=True).from_string("{% for i in items %}{{ i }};{% endfor %}{{ d|xmlattr }}")


def flask() -> None:
    client = _flask_client()
    assert client.get("/set").text == "set"
    assert client.get("/").text == "1"


@cache
def _flask_client() -> Any:
    import flask as package

    here = tempfile.gettempdir()  # this Flask cannot find its paths by itself on Python 3.14
    app = package.Flask("smoke", root_path=here, instance_path=here, static_folder=None)
    app.secret_key = "secret"

    @app.route("/set")
    def put() -> str:
        package.session["a"] = 1
        return "set"

    @app.route("/")
    def get() -> str:
        return str(package.session["a"])

    return app.test_client()


class _Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(303)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = json.dumps({"method": self.command, "path": self.path, "body": body.decode()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET

    def log_message(self, *_: object) -> None: ...


@cache
def _echo() -> str:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def requests() -> None:
    import requests as package

    session = _requests_session(package.Session)
    answer = session.post(f"{_echo()}/a", data={"b": "c"})
    assert answer.json() == {"method": "POST", "path": "/a", "body": "b=c"}
    assert session.post(f"{_echo()}/moved", data={"b": "c"}).json()["method"] == "GET"


@cache
def _requests_session(session: Any) -> Any:
    return session()


def urllib3() -> None:
    import urllib3 as package

    pool = _pool(package.PoolManager)
    answer = pool.request("POST", f"{_echo()}/a", fields={"b": "c"}, encode_multipart=False)
    assert json.loads(answer.data) == {"method": "POST", "path": "/a", "body": "b=c"}
    assert json.loads(pool.request("GET", f"{_echo()}/moved").data)["path"] == "/"


@cache
def _pool(manager: Any) -> Any:
    return manager()


def sqlparse() -> None:
    import sqlparse as package

    text = "select a, b from t where c = 'd'; insert into t values (1)"
    assert len(package.split(text)) == 2
    assert package.format(text, reindent=True, keyword_case="upper").startswith("SELECT a,\n       b\nFROM t")
    assert package.parse(text)[0].get_type() == "SELECT"


def idna() -> None:
    import idna as package

    assert package.encode("bücher.example") == b"xn--bcher-kva.example"
    assert package.decode(b"xn--bcher-kva.example") == "bücher.example"
    assert package.encode("Königsgäßchen", uts46=True, transitional=False) == b"xn--knigsgchen-b4a3dun"


def zipp() -> None:
    import zipp as package

    path = package.Path(_archive())
    assert sorted(one.name for one in path.iterdir()) == ["a.txt", "b"]
    assert (path / "b" / "c.txt").read_text(encoding="utf-8") == "c"
    assert [str(one.at) for one in path.glob("b/*.txt")] == ["b/c.txt"]


@cache
def _archive() -> Any:
    file = zipfile.ZipFile(io.BytesIO(), "w")
    for name in ("a.txt", "b/c.txt"):
        file.writestr(name, name[-5])
    return file


def starlette() -> None:
    assert asyncio.run(_asgi("/page/x")) == (200, b"page x")
    assert asyncio.run(_asgi("/static/a.txt")) == (200, b"content")
    assert asyncio.run(_asgi("/static/../a.txt"))[0] == 404


async def _asgi(path: str) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    scope |= {
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "http_version": "1.1",
    }
    await _starlette_app()(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@cache
def _starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "a.txt"), "w") as file:
        file.write("content")

    async def page(request: Any) -> Any:
        return PlainTextResponse(f"page {request.path_params['name']}")

    return Starlette(routes=[Route("/page/{name}", page), Mount("/static", StaticFiles(directory=folder))])


def python_multipart() -> None:
    import python_multipart as package

    body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue\r\n--b--\r\n'
    fields: list[Any] = []
    headers = {"Content-Type": b"multipart/form-data; boundary=b", "Content-Length": str(len(body)).encode()}
    package.parse_form(headers, io.BytesIO(body), fields.append, fields.append)  # type: ignore[arg-type]
    assert [(field.field_name, field.value) for field in fields] == [(b"a", b"value")]


def tornado() -> None:
    address = _tornado()
    for _ in range(2):
        with urllib.request.urlopen(f"{address}/x?a=b", timeout=20) as answer:
            assert answer.read() == b"x b"


@cache
def _tornado() -> str:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler

    class Handler(RequestHandler):  # type: ignore[misc]
        async def get(self, name: str) -> None:
            await asyncio.sleep(0)
            self.write(f"{name} {self.get_argument('a')}")

    (listener,) = bind_sockets(0, "127.0.0.1")

    async def serve() -> None:
        HTTPServer(Application([("/(.*)", Handler)])).add_socket(listener)
        await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def waitress() -> None:
    address = _waitress()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/", data=b"body"), timeout=20) as answer:
        assert answer.read() == b"POST body"


@cache
def _waitress() -> str:
    from waitress.server import create_server

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['REQUEST_METHOD']} ".encode() + environ["wsgi.input"].read()]

    server = create_server(application, host="127.0.0.1", port=0, threads=2)
    threading.Thread(target=server.run, daemon=True).start()
    return f"http://127.0.0.1:{server.effective_port}"


def mistune() -> None:
    # In paragraphs of their own: 2.0.3 takes an emphasis and a strong one in a row for something else.
    text = "# Title\n\nsome *emphasis*\n\nand **strong** and [a link](http://example.org)\n\n- one\n- two\n"
    for markdown in (_markdown(), _markdown.__wrapped__()):
        html = markdown(text)
        assert "<em>emphasis</em>" in html
        assert "<strong>strong</strong>" in html
        assert html.count("<li>") == 2


@cache
def _markdown() -> Any:
    import mistune as package

    return package.create_markdown(plugins=["strikethrough", "table"])


def pyjwt() -> None:
    import jwt

    token = jwt.encode({"a": 1}, "s" * 32, algorithm="HS256")
    assert jwt.decode(token, "s" * 32, algorithms=["HS256"]) == {"a": 1}
    try:
        jwt.decode(token, "t" * 32, algorithms=["HS256"])
    except jwt.InvalidSignatureError:
        return
    raise AssertionError("a wrong key was taken")


def django() -> None:
    _configured()
    from django.template import Context, Template
    from django.utils.html import urlize
    from django.utils.http import url_has_allowed_host_and_scheme as allowed

    assert (
        Template("{{ a|urlize }} {{ b }}").render(Context({"a": "http://example.org", "b": "<"})).endswith("</a> &lt;")
    )
    assert "href" in urlize("see http://example.org/x.")
    assert allowed("/next", {"example.org"})


@cache
def _configured() -> None:
    import django as package
    from django.conf import settings

    if not settings.configured:
        settings.configure(TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}])
        package.setup()


def paramiko() -> None:
    """A client and a server of SSH, in one process: keys are exchanged, a password is asked for, a command answers."""
    import paramiko as package

    ours, theirs = socket.socketpair()
    server = package.Transport(theirs)
    server.add_server_key(_host_key())
    server.start_server(event=threading.Event(), server=_ssh_server(package.ServerInterface)())
    client = package.Transport(ours)
    try:
        client.connect(username="user", password="password")
        channel = client.open_session(timeout=20)
        channel.exec_command("echo")
        accepted = server.accept(20)
        accepted.sendall(b"hello")
        accepted.close()
        assert channel.makefile().read() == b"hello"
    finally:
        client.close()
        server.close()
        client.join(20)
        server.join(20)


@cache
def _host_key() -> Any:
    from paramiko import ECDSAKey

    return ECDSAKey.generate()


@cache
def _ssh_server(base: Any) -> Any:
    class Server(base):  # type: ignore[misc]
        def check_auth_password(self, username: str, password: str) -> int:
            return 0 if (username, password) == ("user", "password") else 2

        def get_allowed_auths(self, username: str) -> str:
            return "password"

        def check_channel_request(self, kind: str, number: int) -> int:
            return 0

        def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
            return True

    return Server


def mako() -> None:
    from mako.template import Template

    assert _mako().render(items=[1, 2]).split() == ["1", "2", "&lt;"]
    assert Template("${a}").render(a=1) == "1"


@cache
def _mako() -> Any:
    from mako.template import Template

    return Template("% for i in items:\n${i}\n% endfor\n${'<' | h}\n<%def name='f()'>x</%def>")


def aiohttp() -> None:
    assert asyncio.run(_aiohttp()) == ("a b", b"content")


async def _aiohttp() -> tuple[str, bytes]:
    from aiohttp import ClientSession, web

    async def get(request: Any) -> Any:
        return web.Response(text=f"{request.match_info['name']} {request.query['q']}")

    app = web.Application()
    app.add_routes([web.get("/get/{name}", get), web.static("/static", _static_folder())])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    try:
        async with ClientSession() as session:
            async with session.get(f"{base}/get/a?q=b") as answer:
                text = await answer.text()
            async with session.get(f"{base}/static/a.txt") as answer:
                return text, await answer.read()
    finally:
        await runner.cleanup()


@cache
def _static_folder() -> str:
    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "a.txt"), "w") as file:
        file.write("content")
    return folder


def boto3() -> None:
    client = _boto3()
    url = client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
    assert "/k?" in url
    assert [page["Name"] for page in client.list_buckets()["Buckets"]] == ["one"]


@cache
def _boto3() -> Any:
    import boto3 as package
    from botocore.stub import Stubber

    session = package.Session("key", "secret", region_name="eu-west-1")
    client = session.client("s3")
    stubber = Stubber(client)
    stubber.activate()
    for _ in range(100_000):
        stubber.add_response("list_buckets", {"Buckets": [{"Name": "one"}]})
    return client


def botocore() -> None:
    client = _botocore()
    assert "/k?" in client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
    assert client.list_buckets()["Buckets"] == [{"Name": "one"}]


@cache
def _botocore() -> Any:
    import botocore.session
    from botocore.stub import Stubber

    session = botocore.session.get_session()
    session.set_credentials("key", "secret")
    client = session.create_client("s3", region_name="eu-west-1")
    stubber = Stubber(client)
    stubber.activate()
    for _ in range(100_000):
        stubber.add_response("list_buckets", {"Buckets": [{"Name": "one"}]})
    return client


def packaging() -> None:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    assert sorted(map(Version, ["1.10", "1.9", "2.0rc1", "2.0"]))[0] == Version("1.9")
    assert "2.1" in SpecifierSet(">=2,<3")
    assert "3.0" not in SpecifierSet(">=2,<3")
    one = Requirement('name[extra]>=1; python_version > "3"')
    assert (one.name, one.extras, one.marker.evaluate()) == ("name", {"extra"}, True)


def typing_extensions() -> None:
    import typing_extensions as package

    class Movie(package.TypedDict, total=False):  # type: ignore[misc, name-defined]
        name: package.Required[str]  # type: ignore[name-defined]
        year: int

    @package.runtime_checkable
    class Sized(package.Protocol):  # type: ignore[misc, name-defined]
        def size(self) -> int: ...

    assert Movie.__required_keys__ == {"name"}
    assert not isinstance(1, Sized)
    assert package.get_type_hints(Movie)["year"] is int


def setuptools() -> None:
    from setuptools import Distribution, find_packages

    folder = _package_folder()
    assert find_packages(folder) == ["thing"]
    distribution = Distribution({"name": "thing", "version": "1.0", "packages": ["thing"]})
    assert distribution.get_name() == "thing"
    assert distribution.get_command_obj("build").get_finalized_command("build_py").packages == ["thing"]


@cache
def _package_folder() -> str:
    folder = tempfile.mkdtemp()
    os.mkdir(os.path.join(folder, "thing"))
    with open(os.path.join(folder, "thing", "__init__.py"), "w"):
        pass
    return folder


def aiobotocore() -> None:
    async def use() -> str:
        from aiobotocore.session import get_session

        session = get_session()
        async with session.create_client(
            "s3", region_name="eu-west-1", aws_access_key_id="key", aws_secret_access_key="secret"
        ) as client:
            url: str = await client.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
            return url

    assert "/k?" in asyncio.run(use())


def dateutil() -> None:
    from dateutil import parser, relativedelta, rrule, tz

    day = parser.parse("2024-01-31T10:00:00+01:00")
    assert (day + relativedelta.relativedelta(months=1)).day == 29
    assert len(list(rrule.rrule(rrule.WEEKLY, count=3, dtstart=day))) == 3
    assert tz.gettz("UTC") is not None


def six() -> None:
    import six as package
    from six.moves import urllib

    @package.add_metaclass(type)
    class A: ...

    assert package.ensure_str(b"a") == "a"
    assert urllib.parse.quote(" ") == "%20"
    assert isinstance(A, type)


def pydantic() -> None:
    model = _model()
    one = model.model_validate({"name": "x", "sizes": ["1", 2]})
    assert one.model_dump() == {"name": "x", "sizes": [1, 2]}
    assert model.model_json_schema()["required"] == ["name", "sizes"]
    _model.__wrapped__()


@cache
def _model() -> Any:
    from pydantic import create_model

    return create_model("Model", name=(str, ...), sizes=(list[int], ...))


def pygments() -> None:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    assert '<span class="k">def</span>' in highlight("def f(): return 1", get_lexer_by_name("python"), HtmlFormatter())
    assert "<span" in highlight('{"a": 1}', get_lexer_by_name("json"), HtmlFormatter())


def click() -> None:
    from click.testing import CliRunner

    answer = CliRunner().invoke(_command(), ["--count", "2", "name"])
    assert (answer.exit_code, answer.output) == (0, "name name\n"), answer.output
    assert CliRunner().invoke(_command(), ["--help"]).exit_code == 0
    assert CliRunner().invoke(_command(), ["--count", "x", "name"]).exit_code == 2


@cache
def _command() -> Any:
    import click as package

    @package.command()
    @package.option("--count", default=1)
    @package.argument("name")
    def command(count: int, name: str) -> None:
        package.echo(" ".join([name] * count))

    return command


def pluggy() -> None:
    manager = _manager()
    assert manager.hook.double(x=2) == [4]


@cache
def _manager() -> Any:
    import pluggy as package

    class Spec:
        @package.HookspecMarker("smoke")
        def double(self, x: int) -> int: ...  # type: ignore[empty-body]

    class Plugin:
        @package.HookimplMarker("smoke")
        def double(self, x: int) -> int:
            return x * 2

    manager = package.PluginManager("smoke")
    manager.add_hookspecs(Spec)
    manager.register(Plugin())
    return manager


def pycparser() -> None:
    from pycparser import c_generator, c_parser

    tree = c_parser.CParser().parse("int f(int a) { return a + 1; }")
    assert "return a + 1;" in c_generator.CGenerator().visit(tree)


def anyio() -> None:
    import anyio as package

    async def use() -> list[int]:
        send, receive = package.create_memory_object_stream(1)
        got: list[int] = []

        async def put() -> None:
            async with send:
                for number in range(3):
                    await send.send(number)

        async with package.create_task_group() as group:
            group.start_soon(put)
            with package.fail_after(20):
                async with receive:
                    async for number in receive:
                        got.append(number)
        return [*got, await package.to_thread.run_sync(lambda: 3)]

    assert package.run(use) == [0, 1, 2, 3]


def s3transfer() -> None:
    from s3transfer.manager import TransferConfig, TransferManager

    class Client:
        class meta:
            class events:
                register_first = register_last = register = staticmethod(lambda *arguments, **options: None)

            config = type("Config", (), {"request_checksum_calculation": "when_required", "signature_version": "v4"})

        def put_object(self, Body: Any, **options: Any) -> dict[str, Any]:
            uploaded.append(Body.read())
            return {}

    uploaded: list[bytes] = []
    with TransferManager(Client(), TransferConfig()) as manager:
        manager.upload(io.BytesIO(b"content"), "bucket", "key").result()
    assert uploaded == [b"content"]


def attrs() -> None:
    import attr

    one = _point()(1, 2)
    assert attr.asdict(one) == {"x": 1, "y": 2}
    assert attr.evolve(one, x=3) == _point()(3, 2)
    assert repr(_point.__wrapped__()(1, 2)).endswith("Point(x=1, y=2)")


@cache
def _point() -> Any:
    import attr

    @attr.s(auto_attribs=True)
    class Point:
        x: int
        y: int = attr.ib(converter=int, validator=attr.validators.instance_of(int))

    return Point


def h11() -> None:
    import h11 as package

    client, server = package.Connection(package.CLIENT), package.Connection(package.SERVER)
    sent = client.send(
        package.Request(method="GET", target="/", headers=[("Host", "a"), ("Transfer-Encoding", "chunked")])
    )
    sent += client.send(package.Data(data=b"body")) + client.send(package.EndOfMessage())
    server.receive_data(sent)
    assert [type(server.next_event()).__name__ for _ in range(3)] == ["Request", "Data", "EndOfMessage"]


def pytest() -> None:
    import pytest as package  # noqa: PT013

    folder = _tests()
    assert package.main(["-q", "-p", "no:cacheprovider", "--no-header", "-p", "no:terminal", folder]) == 0


@cache
def _tests() -> str:
    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "test_a.py"), "w") as file:
        file.write("import pytest\n@pytest.mark.parametrize('a', [1, 2])\ndef test_a(a, tmp_path):\n    assert a\n")
    return folder


def annotated_types() -> None:
    import annotated_types as package

    assert [type(one).__name__ for one in package.Interval(gt=1, le=2)] == ["Gt", "Le"]
    assert package.Len(1, 2).min_length == 1


def iniconfig() -> None:
    import iniconfig as package

    config = package.IniConfig("a.ini", "[one]\na = 1 # note\nb =\n  2\n  3\n")
    assert (config.get("one", "a"), config["one"]["b"]) == ("1 # note", "2\n3")


def fsspec() -> None:
    import fsspec as package

    memory = package.filesystem("memory")
    with memory.open("/folder/a.txt", "wb") as file:
        file.write(b"content")
    assert memory.cat("/folder/a.txt") == b"content"
    assert [path["name"] for path in memory.ls("/folder")] == ["/folder/a.txt"]
    with package.open("memory://folder/a.txt", "rt") as text:
        assert text.read() == "content"


def httpx() -> None:
    answer = _httpx().post(f"{_echo()}/a", data={"b": "c"})
    assert answer.json() == {"method": "POST", "path": "/a", "body": "b=c"}
    assert _httpx().get(f"{_echo()}/moved", follow_redirects=True).json()["path"] == "/"


@cache
def _httpx() -> Any:
    import httpx as package

    return package.Client(trust_env=False)


def httpcore() -> None:
    answer = _httpcore().request("POST", f"{_echo()}/a", content=b"b=c", headers={"Content-Length": "3"})
    assert json.loads(answer.content) == {"method": "POST", "path": "/a", "body": "b=c"}


@cache
def _httpcore() -> Any:
    import httpcore as package

    return package.ConnectionPool()


def typing_inspection() -> None:
    from typing import Annotated, ClassVar, Literal

    from typing_inspection.introspection import AnnotationSource, get_literal_values, inspect_annotation

    found = inspect_annotation(ClassVar[Annotated[int, 1]], annotation_source=AnnotationSource.CLASS)
    assert (found.type, found.metadata) == (int, [1])
    assert list(get_literal_values(Literal[1, "a"])) == [1, "a"]


def pip() -> None:
    from pip._internal.models.link import Link
    from pip._internal.req.constructors import install_req_from_line
    from pip._internal.utils.misc import format_size

    assert install_req_from_line("name[extra]>=1").name == "name"
    assert Link("https://example.org/a-1.0.tar.gz#sha256=00").filename == "a-1.0.tar.gz"
    assert format_size(2000) == "2.0 kB"


def s3fs() -> None:
    from s3fs import S3FileSystem

    files = S3FileSystem(
        key="key", secret="secret", client_kwargs={"region_name": "eu-west-1"}, skip_instance_cache=True
    )
    assert files.split_path("s3://bucket/a/b") == ("bucket", "a/b", None)
    assert "/a/b?" in files.sign("bucket/a/b")


def platformdirs() -> None:
    import platformdirs as package

    assert package.user_cache_dir("name", "author").endswith("name")
    assert package.PlatformDirs("name", version="1").user_config_path.name == "1"


SMOKES: dict[str, Callable[[], None]] = {
    "werkzeug": werkzeug,
    "jinja2": jinja2,
    "flask": flask,
    "requests": requests,
    "urllib3": urllib3,
    "sqlparse": sqlparse,
    "idna": idna,
    "zipp": zipp,
    "starlette": starlette,
    "python-multipart": python_multipart,
    "tornado": tornado,
    "waitress": waitress,
    "mistune": mistune,
    "pyjwt": pyjwt,
    "django": django,
    "paramiko": paramiko,
    "mako": mako,
    "aiohttp": aiohttp,
    "boto3": boto3,
    "packaging": packaging,
    "setuptools": setuptools,
    "botocore": botocore,
    "aiobotocore": aiobotocore,
    "six": six,
    "pydantic": pydantic,
    "pygments": pygments,
    "click": click,
    "pluggy": pluggy,
    "pycparser": pycparser,
    "anyio": anyio,
    "s3transfer": s3transfer,
    "attrs": attrs,
    "h11": h11,
    "pytest": pytest,
    "iniconfig": iniconfig,
    "fsspec": fsspec,
    "httpx": httpx,
    "httpcore": httpcore,
    "pip": pip,
    "s3fs": s3fs,
    "platformdirs": platformdirs,
    "typing-extensions": typing_extensions,
    "python-dateutil": dateutil,
    "annotated-types": annotated_types,
    "typing-inspection": typing_inspection,
}
