"""One behaviour a pair, run inside the process that is patched: what the hole does, and what the fix does.

Each function is called before the load, after it, and after the unload, in a process that imported the old release.
It gives ``True`` where the hole is open. What it makes at first (an object, a closure) it keeps, so that what was
alive before the load is asked as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
import os
import signal
import socket
import ssl
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

_kept: dict[str, Any] = {}


def _keep(name: str, make: Callable[[], Any]) -> Any:
    if name not in _kept:
        _kept[name] = make()
    return _kept[name]


def _raises(call: Callable[[], object], *errors: str) -> bool:
    try:
        call()
    except Exception as error:
        if type(error).__name__ not in errors:
            raise
        return True
    return False


def _all(answers: Iterable[bool]) -> bool:
    """The answer that all give: old objects and new ones."""
    (answer,) = set(answers)
    return answer


def werkzeug_3_0_6() -> bool:
    """A form field may outgrow max_form_memory_size while it is buffered."""
    from werkzeug.formparser import MultiPartParser

    parser = _keep("parser", lambda: MultiPartParser(max_form_memory_size=100, buffer_size=64))
    body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"a" * 1000 + b"\r\n--b--\r\n"
    return not _raises(lambda: parser.parse(io.BytesIO(body), b"b", len(body)), "RequestEntityTooLarge")


def jinja2_3_1_3() -> bool:
    """A key of xmlattr may hold a blank, and so other attributes."""
    import jinja2

    template = _keep("template", lambda: jinja2.Environment().from_string("{{ d|xmlattr }}"))
    return not _raises(lambda: template.render(d={"a onclick=x": 1}), "ValueError")


def jinja2_3_1_6() -> bool:
    """The sandbox gives out str.format by the attr filter."""
    from jinja2.sandbox import SandboxedEnvironment

    text = "{{ ('{0.__class__.__name__}'|attr('format'))(1) }}"
    template = _keep("template", lambda: SandboxedEnvironment().from_string(text))
    return not _raises(template.render, "SecurityError")


def flask_2_3_2() -> bool:
    """A permanent session that was only read is sent without Vary: Cookie."""
    import flask
    import werkzeug

    werkzeug.__version__ = "3"  # it would ask for its metadata, which is not unpacked

    def make() -> Any:
        # Paths, as this Flask cannot find them by itself on Python 3.14.
        here = tempfile.gettempdir()
        app = flask.Flask("app", root_path=here, instance_path=here, static_folder=None)
        app.secret_key = "secret"
        app.config["SESSION_REFRESH_EACH_REQUEST"] = True

        @app.route("/set")
        def put() -> str:
            flask.session.permanent = True
            flask.session["a"] = 1
            return "set"

        @app.route("/")
        def get() -> str:
            return "read"

        return app

    client = _keep("app", make).test_client()
    client.get("/set")
    answer = client.get("/")
    return "Set-Cookie" in answer.headers and "Cookie" not in answer.headers.get("Vary", "")


def requests_2_31_0() -> bool:
    """The proxy's password goes to the destination when a redirect leads to https."""
    import requests

    session = _keep("session", requests.Session)
    request = requests.Request("GET", "https://example.org/").prepare()
    session.rebuild_proxies(request, {"https": "http://user:password@127.0.0.1:1"})
    return "Proxy-Authorization" in request.headers


def requests_2_32_4() -> bool:
    """The password of one host in .netrc goes to another."""
    from requests.utils import get_netrc_auth

    with tempfile.NamedTemporaryFile("w", suffix="netrc") as file:
        file.write("machine example.org login user password secret\n")
        file.flush()
        os.environ["NETRC"] = file.name
        return get_netrc_auth("http://example.org:@evil.test/") is not None


def urllib3_1_26_18() -> bool:
    """The body of a request goes on to where a 303 leads."""
    import urllib3

    calls: list[Any] = []

    class Pool:
        def is_same_host(self, url: str) -> bool:
            return True

        def urlopen(self, method: str, url: str, **options: Any) -> Any:
            calls.append(options.get("body"))
            headers = {"location": "http://other.test/"} if len(calls) == 1 else {}
            return urllib3.HTTPResponse(b"", headers=headers, status=303 if len(calls) == 1 else 200)

    manager = _keep("manager", urllib3.PoolManager)
    manager.connection_from_host = lambda *arguments, **options: Pool()
    manager.urlopen("POST", "http://example.org/", body=b"secret", headers={})
    return calls[1] is not None


def idna_3_7() -> bool:
    """A joiner is allowed by a letter that others stand before: each joiner has the whole label searched."""
    from idna.core import valid_contextj

    return bool(valid_contextj("\u0628a\u200c\u0628", 2))


def starlette_0_27_0() -> bool:
    """StaticFiles gives out a folder whose name begins as that of the one it serves."""
    from starlette.staticfiles import StaticFiles

    def make() -> tuple[Any, str]:
        root = tempfile.mkdtemp()
        for name in ("static", "static_secret"):
            os.mkdir(os.path.join(root, name))
        with open(os.path.join(root, "static_secret", "x"), "w"):
            pass
        return StaticFiles(directory=os.path.join(root, "static")), root

    files, _ = _keep("files", make)
    return files.lookup_path("../static_secret/x")[1] is not None


def python_multipart_0_0_18() -> bool:
    """Each byte after the last boundary is logged."""
    from python_multipart.multipart import MultipartParser

    def logs_much(parser: Any) -> bool:
        records: list[logging.LogRecord] = []
        handler = logging.Handler()
        handler.emit = records.append  # type: ignore[method-assign]
        logger = logging.getLogger("python_multipart.multipart")
        logger.addHandler(handler)
        try:
            parser.write(b"--b\r\nA: b\r\n\r\nx\r\n--b--" + b"x" * 100)
        finally:
            logger.removeHandler(handler)
        return len(records) > 50

    parsers = _keep("parsers", lambda: [MultipartParser(b"b") for _ in range(3)])
    return _all(map(logs_much, (parsers.pop(), MultipartParser(b"b"))))


def waitress_3_0_1() -> bool:
    """A channel that was closed goes on holding its socket."""
    from waitress.wasyncore import dispatcher

    channels = _keep("channels", lambda: [dispatcher(socket.socketpair()[0], map={}) for _ in range(3)])
    answers = []
    for channel in (channels.pop(), dispatcher(socket.socketpair()[0], map={})):
        channel.close()
        answers.append(channel.socket is not None)
    return _all(answers)


def pyjwt_2_4_0() -> bool:
    """A public key of another kind is taken for a secret."""
    import jwt

    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1eZ user@host"
    return not _raises(lambda: jwt.encode({"a": 1}, key, algorithm="HS256"), "InvalidKeyError")


def django_5_1_8() -> bool:
    """A redirect's target of any length is parsed."""
    from django.utils.http import url_has_allowed_host_and_scheme as allowed

    return bool(allowed("https://example.org/" + "a" * 5000, {"example.org"}))


def django_4_2_16() -> bool:
    """Whether an account exists shows by the error when its mail cannot be sent."""
    from django.conf import settings

    if not settings.configured:
        import django

        settings.configure(
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
            EMAIL_BACKEND="nowhere.Backend",
            TEMPLATES=[
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", {"t": "text"})]},
                }
            ],
        )
        django.setup()
    from django.contrib.auth.forms import PasswordResetForm

    logging.getLogger("django.contrib.auth").disabled = True
    send = functools.partial(PasswordResetForm({}).send_mail, "t", "t", {"user": settings}, "a@b.test", "c@d.test")
    settings.pk = 1
    return _raises(send, "ModuleNotFoundError")


def _endless(*calls: Callable[[], object]) -> bool:
    """Whether the calls go on for ever (half a second). Raises where some do and some do not."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    answers = []
    previous = signal.signal(signal.SIGALRM, give_up)
    try:
        for call in calls:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            answers.append(_raises(call, "TimeoutError"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    return _all(answers)


def zipp_3_19_1() -> bool:
    """A name in an archive makes the search for its parents go on for ever."""
    from zipp import Path

    def archive() -> zipfile.ZipFile:
        file = zipfile.ZipFile(io.BytesIO(), "w")
        file.writestr("//name", "")
        return file

    path = _keep("path", lambda: Path(archive()))
    return _endless(lambda: list(path.iterdir()), lambda: list(Path(archive()).iterdir()))


def mistune_2_0_3() -> bool:
    """An emphasis that is not closed is looked for in exponential time."""
    import mistune

    text = "*a" + "\\\\" * 100
    kept = _keep("markdown", mistune.create_markdown)
    kept("*b*")  # it has compiled its expressions
    return _endless(lambda: mistune.create_markdown()(text), lambda: kept(text), lambda: mistune.html(text))


def werkzeug_3_0_1() -> bool:
    """Data that begins with a carriage return is buffered, and searched with each chunk, until a newline comes."""
    from werkzeug.sansio.multipart import MultipartDecoder

    head = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    decoders = _keep("decoders", lambda: [MultipartDecoder(b"b") for _ in range(3)])
    answers = []
    for decoder in (decoders.pop(), MultipartDecoder(b"b")):
        decoder.receive_data(head + b"\r" + b"a" * 100_000)
        events = [decoder.next_event() for _ in range(3)]
        answers.append(len(events[2].data) < 50_000)
    return _all(answers)


def werkzeug_2_2_3() -> bool:
    """A form may have any number of parts."""
    from werkzeug.test import EnvironBuilder
    from werkzeug.wrappers import Request

    def request() -> Any:
        part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
        body = io.BytesIO(part * 1500 + b"--b--\r\n")
        return Request(
            EnvironBuilder(
                method="POST", input_stream=body, content_type="multipart/form-data; boundary=b"
            ).get_environ()
        )

    kept = _keep("requests", lambda: [request() for _ in range(3)])
    return _all(not _raises(lambda one=one: one.form, "RequestEntityTooLarge") for one in (kept.pop(), request()))


def urllib3_2_0_6() -> bool:
    """A cookie goes on to another host when a redirect leads there.

    A Retry that somebody made before the load keeps the headers that it was made with: the builder says so.
    """
    import urllib3

    def cookie_goes_on(manager: Any, **options: Any) -> bool:
        calls: list[Any] = []

        class Pool:
            def is_same_host(self, url: str) -> bool:
                return False

            def urlopen(self, method: str, url: str, **options: Any) -> Any:
                calls.append(options["headers"])
                headers = {"location": "http://other.test/"} if len(calls) == 1 else {}
                return urllib3.HTTPResponse(b"", headers=headers, status=303 if len(calls) == 1 else 200)

        manager.connection_from_host = lambda *arguments, **options: Pool()
        manager.urlopen("GET", "http://example.org/", headers={"Cookie": "secret"}, **options)
        return "Cookie" in calls[1]

    manager = _keep("manager", urllib3.PoolManager)
    return _all(
        [
            cookie_goes_on(manager),
            cookie_goes_on(urllib3.PoolManager(), retries=urllib3.Retry(3)),
        ]
    )


def sqlparse_0_4_4() -> bool:
    """A text that is not closed is looked for in exponential time."""
    import sqlparse
    from sqlparse.lexer import Lexer

    def make() -> Any:
        lexer = Lexer()
        if hasattr(lexer, "default_initialization"):  # in a fresh process of the new release
            lexer.default_initialization()
        return lexer

    text, lexer = "'" + "\\" * 100, _keep("lexer", make)
    return _endless(lambda: sqlparse.parse(text), lambda: list(lexer.get_tokens(text)))


def mako_1_2_2() -> bool:
    """A tag that is not closed is looked for in exponential time."""
    from mako.exceptions import SyntaxException
    from mako.lexer import Lexer

    def parse(lexer: Any) -> None:
        with contextlib.suppress(SyntaxException):
            lexer.parse()

    text = "<%0" + '"' * 3000
    lexers = _keep("lexers", lambda: [Lexer(text) for _ in range(3)])
    return _endless(lambda: parse(lexers.pop()), lambda: parse(Lexer(text)))


def aiohttp_3_9_2() -> bool:
    """A static route that follows links gives out what lies outside of its folder."""
    from aiohttp import ClientRequest, TCPConnector, web
    from aiohttp.test_utils import make_mocked_request
    from yarl import URL

    def make() -> Any:
        root = tempfile.mkdtemp()
        os.mkdir(os.path.join(root, "static"))
        with open(os.path.join(root, "secret"), "w"):
            pass
        return web.StaticResource("/static", os.path.join(root, "static"), follow_symlinks=True)

    async def ask(resource: Any) -> None:
        await resource._handle(make_mocked_request("GET", "/static/x", match_info={"filename": "../secret"}))

    async def verifies() -> bool:
        kept = _keep("connector", TCPConnector)  # its default meant this, and must go on to do so
        request = ClientRequest("GET", URL("https://example.org"), loop=asyncio.get_running_loop())
        contexts = [connector._get_ssl_context(request) for connector in (kept, TCPConnector())]
        return all(context.verify_mode is ssl.CERT_REQUIRED for context in contexts)

    assert asyncio.run(verifies())
    answers = []
    for resource in (_keep("resource", make), make()):
        answers.append(
            not _raises(lambda resource=resource: asyncio.run(ask(resource)), "HTTPNotFound", "HTTPForbidden")
        )
    return _all(answers)


def paramiko_3_4_0() -> bool:
    """Somebody in between may put a message into the handshake, and so take out a later one (Terrapin)."""
    from paramiko import ECDSAKey, Message, ServerInterface, Transport

    class Between(Transport):  # type: ignore[misc]
        def _send_kex_init(self) -> None:
            message = Message()
            message.add_byte(b"\x02")  # to be ignored
            message.add_string(b"")
            self.packetizer.send_message(message)
            super()._send_kex_init()

    ours, theirs = socket.socketpair()
    server, client = Between(theirs), Transport(ours)
    server.add_server_key(_keep("key", ECDSAKey.generate))
    server.start_server(event=threading.Event(), server=ServerInterface())
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    try:
        return not _raises(lambda: client.start_client(timeout=20), "MessageOrderError")
    finally:
        client.close()
        server.close()


BEHAVIOURS: dict[str, Callable[[], bool]] = {
    "werkzeug-3.0.1": werkzeug_3_0_1,
    "werkzeug-2.2.3": werkzeug_2_2_3,
    "urllib3-2.0.6": urllib3_2_0_6,
    "sqlparse-0.4.4": sqlparse_0_4_4,
    "mako-1.2.2": mako_1_2_2,
    "aiohttp-3.9.2": aiohttp_3_9_2,
    "paramiko-3.4.0": paramiko_3_4_0,
    "werkzeug-3.0.6": werkzeug_3_0_6,
    "jinja2-3.1.3": jinja2_3_1_3,
    "jinja2-3.1.6": jinja2_3_1_6,
    "flask-2.3.2": flask_2_3_2,
    "requests-2.31.0": requests_2_31_0,
    "requests-2.32.4": requests_2_32_4,
    "urllib3-1.26.18": urllib3_1_26_18,
    "idna-3.7": idna_3_7,
    "starlette-0.27.0": starlette_0_27_0,
    "python-multipart-0.0.18": python_multipart_0_0_18,
    "waitress-3.0.1": waitress_3_0_1,
    "pyjwt-2.4.0": pyjwt_2_4_0,
    "zipp-3.19.1": zipp_3_19_1,
    "mistune-2.0.3": mistune_2_0_3,
    "django-4.2.16": django_4_2_16,
    "django-5.1.8": django_5_1_8,
}
