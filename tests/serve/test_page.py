"""The server's page in a headless Chromium, in front of a server whose answers are known."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from helpers.chromium import launched
from helpers.page_visits import Visit, always, model, png_bytes
from helpers.stand_in_server import Answer, Asked, Heat, Problem, StandIn, serving
from twins.serve.page_files import read_page

GREY, RED, GREEN = [90, 90, 90], [255, 0, 0], [0, 160, 0]
CAR = {"label": 0, "name": "car", "score": 0.9312, "box": [20.0, 20.0, 80.0, 60.0]}
PERSON = {"label": 1, "name": "person", "score": 0.2, "box": [100.0, 30.0, 160.0, 90.0]}
DETECTED = {"width": 200, "height": 100, "colours": [RED, GREEN], "objects": [CAR, PERSON]}
CLASSIFIED = {
    "width": 200,
    "height": 100,
    "classes": [{"label": i, "name": f"class {i}", "probability": p} for i, p in enumerate((0.7, 0.2, 0.06, 0.04))],
}
HALVES = np.repeat(np.array([[0, 2]], dtype=np.uint8), 100, axis=1).repeat(100, axis=0)  # left 0, right 2
SEGMENTED = {
    "width": 200,
    "height": 100,
    "mask": base64.b64encode(png_bytes(HALVES)).decode(),
    "colours": [RED, [0, 0, 255], GREEN],
    "pixels": [{"label": 0, "name": "road", "share": 0.5}, {"label": 2, "name": "tree", "share": 0.5}],
}
CLASSIFIER = model("things", "classify", [f"class {i}" for i in range(4)])
DETECTOR = model("streets", "detect", ["car", "person"])
SEGMENTER = model("scenes", "segment", ["road", "sky", "tree"])
HOSTILE = "<img src=x onerror=\"document.title='run'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as browser:
        yield browser


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """200 x 100 pixels of one grey."""
    return write_grey(tmp_path / "grey.png")


def write_grey(path: Path) -> Path:
    Image.new("RGB", (200, 100), tuple(GREY)).save(path)
    return path


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    """A detector that finds a car and, less surely, a person, unless the test says otherwise."""
    with serving(StandIn([DETECTOR], always(DETECTED))) as stand_in:
        yield stand_in


def near(found: list[int], wanted: list[int], within: int = 12) -> bool:
    return all(abs(a - b) <= within for a, b in zip(found, wanted, strict=True))


def blend(over: list[int], under: list[int], opacity: float) -> list[int]:
    return [round(opacity * a + (1 - opacity) * b) for a, b in zip(over, under, strict=True)]


def slide(visit: Visit, value: float) -> None:
    visit.run(
        """(value) => {
            const level = document.querySelector("#level");
            level.value = value;
            level.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        value,
    )


def test_every_module_is_read_and_used(browser: Any, server: StandIn) -> None:
    """What the browser cannot parse it would report; a file that nothing imports is not loaded."""
    with Visit(browser, server.url) as visit:
        loaded = {url.rsplit("/", 1)[1] for url in visit.requests if "/page/" in url}
        assert loaded == read_page().keys() - {"index.html"}


def test_nothing_from_outside_is_read_as_html() -> None:
    """Scripts, styles and what would turn a name into elements."""
    texts = {name: file.content.decode() for name, file in read_page().items()}
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|https?://", texts["index.html"]) == []
    for name, script in texts.items():
        if name.endswith(".js"):
            found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|Function\(|https?://", script)
            assert found == [], name


def test_boxes_are_drawn_and_the_threshold_needs_no_request(browser: Any, server: StandIn, grey: Path) -> None:
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#headline", "1 object: 1 x car")
        for x, y in ((50, 19.5), (50, 59.5), (19.5, 40), (79.5, 40)):  # the sides of the box
            assert near(visit.pixel(x, y), RED)
        assert near(visit.pixel(50, 40), GREY)
        assert near(visit.pixel(130, 89.5), GREY)
        assert visit.text("#panel tbody").split("\t") == ["car", "93.1 %", "20, 20, 80, 60"]
        slide(visit, 0.15)
        assert visit.text("#headline") == "2 objects: 1 x car, 1 x person"
        assert near(visit.pixel(130, 89.5), GREEN)
        slide(visit, 0.95)
        assert visit.text("#headline") == "No object"
        assert visit.text("#panel") == "Nothing scores more than 95.0 %; the highest score is 93.1 %."
        assert near(visit.pixel(50, 19.5), GREY)
        assert len(server.to("/predict")) == 1
        assert server.to("/predict")[0].query == {"model": "streets", "conf": "0.05"}
        assert server.to("/predict")[0].content == grey.read_bytes()


def test_an_object_can_be_picked(browser: Any, server: StandIn, grey: Path) -> None:
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#headline", "car")
        slide(visit, 0.1)
        person = visit.page.get_by_role("button", name="person")
        person.focus()
        visit.page.keyboard.press("Enter")
        assert person.get_attribute("aria-pressed") == "true"
        assert visit.run("document.activeElement.textContent") == "person"  # the panel was made anew around it
        assert near(visit.pixel(130, 89.5), GREEN)
        assert not near(visit.pixel(50, 19.5), RED, within=60)


def test_classes_have_bars(browser: Any, server: StandIn, grey: Path) -> None:
    server.models, server.answer = [CLASSIFIER], always(CLASSIFIED)
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#headline", "class 0: 70.0 %")
        widths = visit.run("[...document.querySelectorAll('.bar span')].map((bar) => bar.style.width)")
        assert [float(width.rstrip("%")) for width in widths] == pytest.approx([70, 20, 6, 4])
        slide(visit, 2)
        assert visit.text("#panel").split() == ["class", "0", "70.0", "%", "class", "1", "20.0", "%"]
        assert visit.text("#level-words") == "2 of 4"
        assert [request.query for request in server.to("/predict")] == [{"model": "things", "topk": "4"}]
        assert visit.page.locator("#download-coco").is_hidden()  # it has no place for classes of whole images


def test_a_mask_is_drawn_over_the_image(browser: Any, server: StandIn, grey: Path) -> None:
    server.models, server.answer = [SEGMENTER], always(SEGMENTED)
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#headline", "road: 50.0 %, tree: 50.0 %")
        assert near(visit.pixel(30, 50), blend(RED, GREY, 0.6))
        assert near(visit.pixel(98, 50), blend(RED, GREY, 0.6))
        assert near(visit.pixel(101, 50), blend(GREEN, GREY, 0.6))
        slide(visit, 1)
        assert near(visit.pixel(170, 10), GREEN, within=2)
        slide(visit, 0)
        assert near(visit.pixel(170, 10), GREY, within=2)
        slide(visit, 1)
        visit.page.get_by_role("button", name="tree").click()
        assert near(visit.pixel(30, 50), GREY, within=2)
        assert near(visit.pixel(170, 10), GREEN, within=2)
        visit.page.click("#stage", position={"x": 600, "y": 100})
        visit.wait_for_text("#place", ": tree")


def test_attention_is_drawn_and_switched_off(browser: Any, server: StandIn, grey: Path) -> None:
    heat = np.zeros((10, 16), dtype=np.uint8)
    heat[:, :8] = 255
    answers = {"/attention": Heat(png_bytes(heat), (20, 0, 180, 100)), "/predict": DETECTED}
    server.answer = lambda request: answers[request.path]
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#headline", "car")
        assert visit.page.locator("#attention-switch").is_hidden()
        wide = visit.page.locator("#stage").bounding_box()["width"]
        visit.page.click("#stage", position={"x": wide * 150.5 / 200, "y": wide * 70.5 / 200})
        visit.wait_for_text("#status", "column 150, row 70 attends to")
        assert server.to("/attention")[0].query == {"model": "streets", "x": "150", "y": "70"}
        hot, cold, unseen = visit.pixel(60, 50), visit.pixel(140, 50), visit.pixel(10, 50)
        assert min(hot[:2]) > 200  # bright yellow
        assert sum(cold) < sum(GREY)
        for outside in (unseen, visit.pixel(190, 50)):
            assert near(outside, blend([0, 0, 0], GREY, 0.6))
        visit.page.uncheck("#attention-shown")
        assert near(visit.pixel(60, 50), GREY)
        assert near(visit.pixel(50, 19.5), RED)
        server.answer = always(Problem(422, "x=3, y=9 lies outside of what the network sees of the image"))
        visit.page.click("#stage", position={"x": 5, "y": 5})
        visit.wait_for_text("#image-problem", "x=3, y=9 lies outside of what the network sees of the image")


def test_an_exported_file_hides_its_network(browser: Any, server: StandIn, grey: Path) -> None:
    server.models = [{**DETECTOR, "can_attend": False}]
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#headline", "car")
        assert visit.text("#stage-keys") == "streets is an exported file, which hides its network."
        visit.page.click("#stage", position={"x": 200, "y": 150})
        visit.wait_for_text("#place", "Column")
        assert server.to("/attention") == []


def test_the_keyboard_alone(browser: Any, server: StandIn, grey: Path) -> None:
    answers = {"/attention": Heat(png_bytes(np.full((5, 10), 255, np.uint8)), (0, 0, 200, 100)), "/predict": DETECTED}
    server.answer = lambda request: answers[request.path]
    with Visit(browser, server.url) as visit:
        keyboard = visit.page.keyboard

        def tab_to(name: str) -> None:
            for _ in range(20):
                keyboard.press("Tab")
                if visit.run("document.activeElement.id") == name:
                    return
            pytest.fail(f"Tab does not come to {name}")

        keyboard.press("Tab")
        assert visit.run("document.activeElement.textContent") == "Skip to the images"
        assert visit.page.locator(".skip").bounding_box()["y"] > 0  # seen once it has the focus
        tab_to("choose")
        assert visit.run("getComputedStyle(document.querySelector('label[for=choose]')).outlineStyle") == "solid"
        with visit.page.expect_file_chooser() as chooser:
            keyboard.press("Enter")
        chooser.value.set_files(str(grey))
        visit.wait_for_text("#status", "grey.png: 1 object: 1 x car")
        tab_to("stage")
        keyboard.press("ArrowRight")
        keyboard.press("ArrowUp")
        keyboard.press("Shift+ArrowUp")
        visit.wait_for_text("#place", "Column 105, row 44")
        keyboard.press("Enter")
        visit.wait_for_text("#status", "column 105, row 44 attends to")
        assert server.to("/attention")[0].query == {"model": "streets", "x": "105", "y": "44"}
        tab_to("level")
        for _ in range(20):
            keyboard.press("ArrowLeft")
        assert visit.text("#headline").startswith("2 objects")
        tab_to("attention-shown")
        keyboard.press("Space")
        assert near(visit.pixel(50, 19.5), RED)


def test_screen_readers_are_told(browser: Any, server: StandIn, grey: Path) -> None:
    """Names and roles of what can be used, and the result in words."""
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#headline", "car")
        tree = visit.page.locator("body").aria_snapshot()
        for line in (
            'application "grey.png: 1 object: 1 x car"',
            'slider "Least score"',
            'rowheader "car"',
            'cell "93.1 %"',
            'button "Choose images"',
            'group "Download"',
            'status: "grey.png: 1 object: 1 x car"',
        ):
            assert line in tree, f"{line} in\n{tree}"
        unnamed = visit.run(
            """[...document.querySelectorAll("button, input, select, progress, canvas[role]")]
                .filter((one) => !one.labels?.length && !one.textContent.trim())
                .filter((one) => !one.ariaLabel && !one.hasAttribute("aria-labelledby"))
                .map((one) => one.outerHTML)"""
        )
        assert unnamed == []


def test_dropped_and_pasted(browser: Any, server: StandIn, grey: Path) -> None:
    data = """([content, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, { type: "image/png" }));
        return data;
    }"""
    content = base64.b64encode(grey.read_bytes()).decode()
    with Visit(browser, server.url) as visit:
        dropped = visit.page.evaluate_handle(data, [content, "dropped.png"])
        visit.page.dispatch_event("#add", "dragover", {"dataTransfer": dropped})
        assert visit.run("document.body.className") == "dragged-over"
        visit.page.dispatch_event("#add", "drop", {"dataTransfer": dropped})
        visit.wait_for_text("#headline", "car")
        assert visit.run("document.body.className") == ""
        pasted = visit.page.evaluate_handle(data, [content, "pasted.png"])
        visit.run(
            """(data) => document.body.dispatchEvent(
                new ClipboardEvent("paste", { clipboardData: data, bubbles: true }))""",
            pasted,
        )
        visit.wait_for_text("#image-name", "pasted.png")
        visit.wait_for_text("#headline", "car")
        assert [request.file for request in server.to("/predict")] == ["dropped.png", "pasted.png"]


def test_an_image_turned_by_its_exif_tag_is_upright(browser: Any, server: StandIn, tmp_path: Path) -> None:
    """Stored lying, left half blue; upright that half is the upper one."""
    lying = Image.new("RGB", (200, 100), (90, 90, 90))
    lying.paste((0, 0, 255), (0, 0, 100, 100))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying.save(tmp_path / "lying.png", exif=exif)
    server.answer = always({**DETECTED, "width": 100, "height": 200, "objects": []})
    with Visit(browser, server.url) as visit:
        visit.choose(tmp_path / "lying.png")
        visit.wait_for_text("#image-size", "100 x 200")
        assert visit.text("#panel") == "Nothing was found in this image."
        assert near(visit.pixel(50, 20), [0, 0, 255], within=2)
        assert near(visit.pixel(50, 180), GREY, within=2)


def test_what_the_browser_cannot_show_has_a_result_all_the_same(browser: Any, server: StandIn, tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "scan.tiff")
    with Visit(browser, server.url) as visit:
        visit.choose(tmp_path / "scan.tiff")
        visit.wait_for_text("#headline", "car")
        assert near(visit.pixel(50, 19.5), RED)
        assert near(visit.pixel(50, 40), [138, 138, 144])


def test_errors_stand_at_their_images_and_the_others_go_on(browser: Any, server: StandIn, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    (tmp_path / "large.png").write_bytes(bytes(2**20))
    files = [tmp_path / "notes.jpg", tmp_path / "large.png", write_grey(tmp_path / "grey.png")]
    why = "notes.jpg: cannot identify image file: damaged, or of no format that is read"
    server.answer = lambda request: Problem(415, why) if request.file == "notes.jpg" else DETECTED
    with Visit(browser, server.url) as visit:
        visit.choose(*files)
        visit.wait_for_text("#status", "3 images finished, 2 without a result")
        assert visit.page.locator("#images li").all_inner_texts() == [
            f"notes.jpg\n{why}",
            "large.png\nlarge.png: 1 MB, more than the 1 MB of this server",
            "grey.png\n1 object: 1 x car",
        ]
        assert visit.page.get_by_role("alert").all_inner_texts() == [why]  # of the first, which is shown
        visit.page.click("text=grey.png")
        assert visit.text("#headline") == "1 object: 1 x car"
        assert visit.page.locator("#image-problem").is_hidden()
        assert sorted(request.file for request in server.to("/predict")) == ["grey.png", "notes.jpg"]
        assert visit.text("#download-words") == "2 images without a result: COCO and CSV leave them out"
    server.answer = always(Problem(415, why))
    with Visit(browser, server.url) as visit:
        visit.choose(files[0])
        visit.wait_for_text("#image-problem", why)
        assert visit.page.locator(".downloads button:enabled").count() == 0


def test_a_server_that_is_gone(browser: Any, server: StandIn, grey: Path) -> None:
    with Visit(browser, server.url) as visit:
        visit.page.route("**/predict*", lambda route: route.abort())
        visit.choose(grey)
        visit.wait_for_text("#image-problem", "No answer: the server cannot be reached, or the file cannot be read")
        visit.messages.clear()  # Chromium's own, of the failed request


def test_several_images_a_few_at_a_time_in_their_order(browser: Any, server: StandIn, tmp_path: Path) -> None:
    names = [f"{number:02d}.png" for number in range(12)]
    running: set[str] = set()
    most = []
    lock = threading.Lock()

    def answer(request: Asked) -> Answer:
        with lock:
            running.add(request.file)
            most.append(len(running))
        time.sleep(0.05)
        with lock:
            running.remove(request.file)
        return {**DETECTED, "objects": [CAR] * int(request.file[:2])}

    server.answer = answer
    with Visit(browser, server.url) as visit:
        visit.choose(*(write_grey(tmp_path / name) for name in names))
        visit.page.wait_for_selector("#progress:visible")
        visit.wait_for_text("#status", "12 images finished, 0 without a result")
        assert visit.page.locator("#sending").is_hidden()
        asked = [request.file for request in server.to("/predict")]
        assert sorted(asked) == names
        assert all(abs(at - int(name[:2])) < 4 for at, name in enumerate(asked))
        assert max(most) <= 4
        found = [text.split("\n")[1] for text in visit.page.locator("#images li").all_inner_texts()]
        assert found == ["No object", "1 object: 1 x car", *(f"{n} objects: {n} x car" for n in range(2, 12))]
        visit.page.click("#images li:nth-child(8) button")
        visit.wait_for_text("#headline", "7 objects")
        visit.page.click("#remove")
        visit.wait_for_text("#headline", "8 objects")
        assert visit.page.locator("#images li").count() == 11
        visit.page.click("#clear")
        assert visit.page.locator("#work").is_hidden()
        assert visit.run("document.activeElement.id") == "choose"


def test_what_is_removed_while_it_is_on_its_way(browser: Any, server: StandIn, tmp_path: Path) -> None:
    """An image, and the question what a place of it attends to."""
    held = threading.Event()

    def answer(request: Asked) -> Answer:
        if request.file == "slow.png" or request.path == "/attention":
            held.wait(10)
        return DETECTED

    server.answer = answer
    with Visit(browser, server.url) as visit:
        visit.choose(write_grey(tmp_path / "slow.png"), write_grey(tmp_path / "grey.png"))
        visit.wait_for_text("#images", "1 x car")
        visit.page.click("#remove")
        visit.wait_for_text("#headline", "1 object: 1 x car")
        visit.page.click("#stage")
        assert visit.page.locator("#stage").get_attribute("aria-busy") == "true"
        visit.choose(write_grey(tmp_path / "next.png"))
        visit.wait_for_text("#image-name", "next.png")
        assert visit.page.locator("#stage").get_attribute("aria-busy") is None
        with visit.page.expect_response("**/predict*"):
            held.set()
        visit.wait_for_text("#headline", "car")
        assert visit.page.locator("#images li").count() == 2
        assert visit.page.locator("#attention-switch").is_hidden()


def test_a_busy_server_is_asked_again(browser: Any, server: StandIn, grey: Path) -> None:
    answers: list[Answer] = [Problem(429, "the queue of streets is full", retry_after=1), DETECTED]
    times = []

    def answer(_: Asked) -> Answer:
        times.append(time.monotonic())
        return answers.pop(0)

    server.answer = answer
    with Visit(browser, server.url) as visit:
        visit.choose(grey)
        visit.wait_for_text("#panel", "The server is busy, trying again in 1 s")
        visit.wait_for_text("#headline", "car")
        assert times[1] - times[0] > 0.95


def test_a_token_is_asked_for_once_and_kept(browser: Any, server: StandIn, grey: Path) -> None:
    server.token = "secret"
    with Visit(browser, server.url) as visit:
        visit.page.fill("#token", "guess")
        visit.page.keyboard.press("Enter")
        visit.wait_for_text("#token-problem", "wrong token")
        visit.page.fill("#token", "secret")
        visit.page.click("text=Continue")
        visit.page.wait_for_selector("#token-dialog", state="hidden")
        visit.choose(grey)
        visit.wait_for_text("#headline", "car")
        assert [request.token for request in server.asked] == [None, "guess", "secret", "secret"]
        visit.page.reload()
        visit.wait_for_text("#invitation", "find objects")
        assert server.asked[-1].token == "secret"
        assert visit.run("localStorage.length + document.cookie.length") == 0


def test_another_model_is_asked_about_the_same_images(browser: Any, server: StandIn, grey: Path) -> None:
    server.models = [DETECTOR, CLASSIFIER]
    server.answer = lambda request: DETECTED if request.query["model"] == "streets" else CLASSIFIED
    with Visit(browser, server.url) as visit:
        assert visit.text("#model-facts") == "twins_svt_small · engine fp32, CPU · 2 classes"
        visit.choose(grey)
        visit.wait_for_text("#headline", "car")
        visit.page.select_option("#model", "things")
        visit.wait_for_text("#headline", "class 0: 70.0 %")
        assert near(visit.pixel(50, 19.5), GREY)
        assert visit.text("#level-label") == "Classes shown"


def test_hostile_names_stay_text(browser: Any, server: StandIn, tmp_path: Path) -> None:
    """Of classes, files and models, and in what the server says."""
    server.models = [model(HOSTILE, "detect", [HOSTILE, "\u202eturned"])]
    found = {**DETECTED, "objects": [{**CAR, "name": HOSTILE}, {**CAR, "label": 1, "name": "\u202eturned"}]}
    server.answer = lambda request: Problem(415, HOSTILE) if "second" in request.file else found
    files = [write_grey(tmp_path / f"{part}<b onclick=alert(1)>'&amp;.png") for part in ("first", "second")]
    with Visit(browser, server.url) as visit:
        visit.choose(*files)
        visit.wait_for_text("#status", "2 images finished, 1 without")
        assert visit.text("#image-name") == files[0].name
        assert visit.page.locator(".pick").first.inner_text() == HOSTILE
        assert visit.text("#images li:nth-child(2) .words") == HOSTILE
        assert visit.run("document.title") == "Twins"
        assert visit.run("document.querySelectorAll('main img, main b').length") == 0


def test_a_photo_from_the_camera(browser: Any, server: StandIn) -> None:
    with Visit(browser, server.url) as visit:
        visit.page.click("#camera")
        visit.page.click("#camera-take")
        visit.wait_for_text("#headline", "car")
        assert server.to("/predict")[0].file == "photo-1.jpg"
        assert server.to("/predict")[0].content.startswith(b"\xff\xd8")
        assert visit.run("document.querySelector('#camera-video').srcObject") is None


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))",
            "refused",
        ),
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))",
            "No camera",
        ),
        ("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })", "secure pages only"),
    ],
    ids=["refused", "none", "insecure"],
)
def test_no_photo_from_the_camera(browser: Any, server: StandIn, before: str, words: str) -> None:
    with Visit(browser, server.url, before=before) as visit:
        visit.page.click("#camera")
        visit.wait_for_text("#camera-problem", words)
        assert visit.page.locator("#camera-take").is_disabled()
        visit.page.keyboard.press("Escape")
        assert visit.page.locator("#camera-dialog").is_hidden()


def test_a_phone_opens_its_own_camera(browser: Any, server: StandIn, grey: Path) -> None:
    with Visit(browser, server.url, has_touch=True, is_mobile=True) as visit:
        assert visit.text("#invitation") == "Choose images to find objects in them"
        with visit.page.expect_file_chooser() as chooser:
            visit.page.click("#camera")
        assert chooser.value.element.get_attribute("capture") == "environment"
        chooser.value.set_files(str(grey))
        visit.wait_for_text("#headline", "car")
