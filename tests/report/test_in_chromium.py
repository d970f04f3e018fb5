"""The page as a browser draws it: lanes, curve and commit line are where the log says, and it asks nobody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from logs import COMMIT, LENGTH, at, begun, read_back, sample, stands, transition

from pylivepatch.report import html, picture

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

WATCH = """<head><script>
const failures = [];
addEventListener("error", event => failures.push(event.message));
addEventListener("securitypolicyviolation", event => failures.push(event.violatedDirective + event.blockedURI));
const getContext = HTMLCanvasElement.prototype.getContext;  // the test reads pixels often, of which the browser warns
HTMLCanvasElement.prototype.getContext = function (kind) {
  return getContext.call(this, kind, {willReadFrequently: true});
};
</script>"""
ANSWER = """<script>
width = lanes.clientWidth; draw();  // as when the page has got its scroll bar
const answer = document.createElement("pre");
answer.id = "answer";
answer.textContent = JSON.stringify({failures, requests: performance.getEntriesByType("resource").length,
  width: lanes.clientWidth, gutter: GUTTER, right: RIGHT, found: (() => { %s })()});
document.body.append(answer);
</script></body>"""
PIXEL = """
const names = ["old", "new", "unclear", "gate", "outside", "back", "commit"];
const c = canvas.getContext("2d");
const hex = (px, py) => "#" + [...c.getImageData(px * devicePixelRatio, py * devicePixelRatio, 1, 1).data.slice(0, 3)]
  .map(n => n.toString(16).padStart(2, "0")).join("");
const pixel = (at, row) => {
  const found = hex(x(at), row * ROW - lanes.scrollTop + ROW / 2);
  return names.find(name => colour(name) === found) || found;
};
"""


def ask(folder: Path, page: str, question: str, *options: str) -> dict[str, Any]:
    """What a script answers in the page, which is drawn without a network and must log nothing."""
    path = folder / "page.html"
    path.write_text(page.replace("<head>", WATCH, 1).replace("</body>", ANSWER % (PIXEL + question), 1))
    done = chromium(folder, "--dump-dom", *options, path.as_uri())
    found = re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:] + done.stderr
    answer: dict[str, Any] = json.loads(found[1])
    assert answer["failures"] == []
    assert answer["requests"] == 0
    assert "CONSOLE" not in done.stderr
    return answer


def chromium(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *quiet]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1300,1500", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_lanes_curve_and_commit_are_drawn_where_the_log_says(tmp_path: Path) -> None:
    shown = picture(read_back(transition()))
    question = """return {
      lines: [...curve.querySelectorAll(".commit")].map(line => +line.getAttribute("x1")),
      path: curve.querySelector(".path").getAttribute("d"),
      levels: [y(0), y(4)],
      pixels: [[1, 1], [4, 1], [6.5, 1], [8, 1], [9.5, 1], [4.5, 0], [8, 0], [8, 2], [%s, 1]]
        .map(([at, row]) => pixel(at, row)),
    };"""
    answer = ask(tmp_path, html(shown), question % COMMIT)
    found = answer["found"]
    left, drawn = answer["gutter"], answer["width"] - answer["gutter"] - answer["right"]

    def x(seconds: float) -> float:
        return float(left + seconds / LENGTH * drawn)

    assert found["lines"] == pytest.approx([x(COMMIT)])
    assert [lane["name"] for lane in shown["lanes"]] == ["green", "worker", "idle"]
    assert found["pixels"] == ["outside", "old", "back", "new", "outside", "old", "back", "outside", "commit"]
    zero, four = found["levels"]
    points = re.findall(r"[MH]([\d.]+)[,V]([\d.]+)", found["path"])
    levels = [(float(px) - left) / drawn * LENGTH for px, _ in points]
    counters = [(zero - float(py)) / (zero - four) * 4 for _, py in points]
    assert levels == pytest.approx([2.0, 2.5, 3.0, 4.0, 5.0, 5.5, 6.0])
    assert counters == pytest.approx([1, 1, 4, 3, 2, 1, 0], abs=1e-6)


def test_the_tooltip_of_a_switch_back_says_that_it_is_one(tmp_path: Path) -> None:
    commits = [at(2.0, "commit", action="load"), at(4.0, "commit", action="unload")]
    page = html(picture(read_back([begun(), *commits, sample(LENGTH)])))
    found = ask(tmp_path, page, "return [curveText(2), curveText(4)];")["found"]
    assert [text.splitlines()[-1] for text in found] == ["commit at 2.000 s", "switched back at 4.000 s"]


def test_zooming_keeps_the_place_and_the_keys_and_tooltips_work(tmp_path: Path) -> None:
    question = """
      zoom(0.25, 6); draw();
      const near = [view.from, view.to], kept = +curve.querySelector(".commit").getAttribute("x1") - x(6);
      const box = canvas.getBoundingClientRect();
      const over = new PointerEvent("pointermove", {clientX: box.left + x(5), clientY: box.top + ROW * 1.5});
      lanes.dispatchEvent(over);
      const told = tip.textContent;
      lanes.dispatchEvent(new KeyboardEvent("keydown", {key: "0"}));
      filter.value = "GREEN"; filter.dispatchEvent(new Event("input")); draw();
      return {near, kept, told, all: [view.from, view.to], count: document.getElementById("count").textContent};"""
    found = ask(tmp_path, html(picture(read_back(transition()))), question)["found"]
    assert found["near"] == pytest.approx([4.5, 7.0])
    assert found["kept"] == pytest.approx(0)
    assert found["told"] == "thread worker\nold, in shop:price:7\n3.000 s to 6.000 s"
    assert found["all"] == [0, 10]
    assert found["count"] == "1 of 3 lanes"


def test_a_dark_page_has_other_colours_in_the_same_places(tmp_path: Path) -> None:
    question = "return [colour('back'), pixel(4, 1), pixel(8, 1)];"
    page = html(picture(read_back(transition())))
    light = ask(tmp_path, page, question)["found"]
    dark = ask(tmp_path, page, question, "--blink-settings=preferredColorScheme=0")["found"]
    assert light == ["#ffffff", "old", "new"]
    assert dark == ["#15181c", "old", "new"]


@pytest.mark.slow
def test_of_two_thousand_lanes_only_those_in_sight_are_drawn(tmp_path: Path) -> None:
    events = [begun()]
    tasks = [stands(f"Task-{number:04}", "shop:price" if number % 2 else "queue:get", "task") for number in range(2000)]
    events.append({**transition()[2], "time": begun()["time"] + 0.1})
    for number in range(100):
        shift = [{**task, "line": 7 + number % 2} for task in tasks]
        events.append(sample(number / 10, *shift))
    question = """
      let drawn = 0;
      const prototype = CanvasRenderingContext2D.prototype, fillText = prototype.fillText;
      prototype.fillText = function (...all) { drawn++; return fillText.apply(this, all); };
      lanes.scrollTop = 1500 * ROW; draw();
      return {drawn, rows: lanes.clientHeight / ROW, height: lanes.scrollHeight / ROW, at: pixel(5.05, 1500),
        above: (lanes.scrollTop = 0, draw(), pixel(5.05, 3))};"""
    found = ask(tmp_path, html(picture(read_back(events))), question)["found"]
    assert found["height"] == pytest.approx(2000, abs=1)
    assert found["drawn"] <= found["rows"] + 3
    assert (found["above"], found["at"]) == ("old", "outside")


def test_the_page_names_no_address(tmp_path: Path) -> None:
    page = html(picture(read_back(transition())))
    assert "://" not in page
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))
