"""The page, served by the real command and opened in a real browser."""

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import convworks as cw
from browser import Visit
from command import convworks
from conftest import write_digits
from convworks.data.splits import Data
from convworks.deploy.demo import answer
from convworks.deploy.predict import open_network, predict
from convworks.errors import InputError

pytest.importorskip("gradio", reason="the page needs the [demo] extra")

SECONDS = 60
"""Long enough for a page on a busy machine."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, digits: Data) -> Path:
    """A run that tells digits apart, its export, and pictures of digits."""
    root = tmp_path_factory.mktemp("demo")
    model = cw.create_model("lenet_bn", num_classes=10, in_channels=1, image_size=28)
    config = cw.TrainConfig(epochs=3, out=root / "run", device="cpu", augment="none")
    run = cw.fit(model, digits, config, progress=False)
    cw.export(run, "onnx", data=digits)
    write_digits(root / "pictures", tuple(range(10)), count=1)
    return root


@dataclass
class Server:
    process: "subprocess.Popen[str]"
    address: str
    port: int


def start(place: Path, *words: str) -> Server:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "convworks", "demo", *words, "--port", str(port)],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith(f"http://127.0.0.1:{port}"), process.communicate()
    return Server(process, first.split()[0], port)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    """The run and its export side by side."""
    found = start(place, "run", "run/model.onnx")
    yield found
    found.process.terminate()
    found.process.communicate(timeout=30)


def open_page(visit: Visit, server: Server) -> None:
    visit.page.set_default_timeout(1000 * SECONDS)
    expect.set_options(timeout=1000 * SECONDS)
    visit.page.goto(server.address)
    visit.page.locator("#picture").wait_for()


def upload(visit: Visit, file: Path) -> None:
    visit.page.locator("#picture input[type=file]").first.set_input_files(file)


def check_nothing_went_wrong(visit: Visit) -> None:
    assert visit.outside == []
    # Gradio's own, at every upload.
    assert [text for text in visit.complaints if text != "Method not implemented."] == []


def colours(visit: Visit, column: int) -> np.ndarray:
    """Of the picture that a network's column shows."""
    shown = visit.page.locator(".network").nth(column).locator("img")
    response = visit.page.request.get(str(shown.get_attribute("src")))
    return np.asarray(Image.open(BytesIO(response.body())).convert("RGB")).astype(int)


def test_an_uploaded_picture_gets_the_answers_of_predict(
    place: Path, server: Server, visit: Visit, tmp_path: Path
) -> None:
    file = place / "pictures" / "digit7" / "000.png"
    open_page(visit, server)
    upload(visit, file)
    for column, path in enumerate(("run", "run/model.onnx")):
        (expected,) = predict(open_network(place / path), [str(file)], top=5)
        shown = visit.page.locator(".network").nth(column)
        expect(shown).to_contain_text(re.compile(r"It took [\d.]+ ms"))
        said = shown.inner_text()
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        begin = lines.index(expected.labels[0])
        assert lines[begin : begin + 10 : 2] == list(expected.labels)
        assert lines[begin + 1] == f"{round(100 * expected.probabilities[0])}%"
        assert "lenet_bn for 10 classes, trained on digits, test accuracy" in said
        assert "sees 1×28×28, grey: the central square" in said
    picture, plain = colours(visit, 0), colours(visit, 1)
    assert picture.shape == plain.shape == (280, 280, 3)
    assert np.ptp(plain, axis=2).max() == 0
    assert np.ptp(picture, axis=2).max() > 50
    text = visit.page.locator(".network").all_inner_texts()
    assert "Where it looked" in text[0]
    assert "An exported file does not tell where it looked" in text[1]
    check_nothing_went_wrong(visit)


def test_a_sample_is_clicked(server: Server, visit: Visit) -> None:
    open_page(visit, server)
    samples = visit.page.locator("#samples button.thumbnail-item")
    expect(samples).to_have_count(10)
    samples.nth(6).click()
    first = visit.page.locator(".network").first
    expect(first).to_contain_text(re.compile(r"It took [\d.]+ ms"))
    assert re.search(r"\n6\s+\d+%", first.inner_text())
    check_nothing_went_wrong(visit)


def test_networks_stand_side_by_side(server: Server, visit: Visit) -> None:
    """In a window of 1,000 pixels."""
    visit.page.set_viewport_size({"width": 1000, "height": 800})
    open_page(visit, server)
    boxes = [visit.page.locator(".network").nth(i).bounding_box() for i in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


def test_what_is_no_picture_is_told(server: Server, visit: Visit, tmp_path: Path) -> None:
    """And the page goes on, without the answer of the picture before."""
    open_page(visit, server)
    visit.page.locator("#samples button.thumbnail-item").first.click()
    expect(visit.page.locator(".network").first).to_contain_text("It took")
    visit.page.get_by_label("Clear").or_(visit.page.get_by_label("Remove Image")).first.click()
    expect(visit.page.locator(".network").first).not_to_contain_text("It took")
    notes = tmp_path / "notes<b>.png"
    notes.write_text("no picture")
    upload(visit, notes)
    message = visit.page.locator("#message")
    expect(message).to_contain_text("Cannot read notes<b>.png (not a picture that can be decoded)")
    assert "It took" not in visit.page.locator(".network").first.inner_text()
    assert visit.outside == []


def test_a_text_file_is_refused(server: Server, visit: Visit, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    open_page(visit, server)
    upload(visit, notes)
    expect(visit.page.locator("body")).to_contain_text(re.compile("Invalid file type|Cannot read"))


def test_a_picture_of_too_many_pixels_is_refused(
    server: Server, visit: Visit, tmp_path: Path
) -> None:
    for name, side in (("large.png", 9_500), ("huge.png", 14_000)):  # Pillow warns, and raises
        file = tmp_path / name
        Image.new("1", (side, side)).save(file)
        open_page(visit, server)
        upload(visit, file)
        message = visit.page.locator("#message")
        expect(message).to_contain_text(f"{name} has too many pixels, more than 89,478,485")


def test_a_file_of_too_many_bytes_is_refused(server: Server, visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "heavy.png"
    file.write_bytes(bytes(21_000_000))
    open_page(visit, server)
    upload(visit, file)
    expect(visit.page.locator("body")).to_contain_text("exceed the maximum allowed size of 20.0 Mb")
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    request = urllib.request.Request(
        f"{server.address}gradio_api/upload",
        body + file.read_bytes() + b"\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:  # who passes the page by, too
        urllib.request.urlopen(request, timeout=SECONDS)
    with refused.value as answered:
        assert answered.code == 413


def test_no_address_is_fetched(place: Path) -> None:
    """Gradio itself would, for whoever names one to its API."""
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    server = start(place, "run")
    try:
        client = Client(server.address, verbose=False)
        with pytest.raises(AppError):
            client.predict(handle_file("http://example.com/a.png"), api_name="/predict")
    finally:
        server.process.terminate()
        _, said = server.process.communicate(timeout=30)
    assert "an address is no picture: upload the file itself" in said


def said_on(page: Page) -> tuple[str, str]:
    """The first network's likeliest label and its share, once it has answered."""
    column = page.locator(".network").first
    expect(column).to_contain_text(re.compile(r"It took [\d.]+ ms"))
    label, share = re.findall(r"\n(\w+)\s+(\d+%)", column.inner_text())[0]
    return label, share


def said_of(place: Path, file: Path) -> tuple[str, str]:
    """The same as `predict` has it."""
    (one,) = predict(open_network(place / "run"), [str(file)])
    return one.labels[0], f"{round(100 * one.probabilities[0])}%"


def test_ten_people_at_once_get_their_own_answers(
    place: Path, server: Server, browser: Browser
) -> None:
    """Ten pages of one browser, whose pictures are all on their way together."""
    files = sorted((place / "pictures").rglob("*.png"))
    assert len(files) == 10
    people = browser.new_context()
    people.set_default_timeout(1000 * SECONDS)
    pages = [people.new_page() for _ in files]
    for page in pages:
        page.goto(server.address, wait_until="commit")
    for page in pages:
        page.locator("#picture input[type=file]").first.wait_for(state="attached")
    for page, file in zip(pages, files, strict=True):
        page.locator("#picture input[type=file]").first.set_input_files(file)
    answers = [said_on(page) for page in pages]
    assert answers == [said_of(place, file) for file in files]
    people.close()


def test_a_picture_is_pasted(place: Path, server: Server, visit: Visit) -> None:
    file = place / "pictures" / "digit7" / "000.png"
    open_page(visit, server)
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.evaluate(
        """async (text) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const kinds = { "image/png": new Blob([bytes], { type: "image/png" }) };
            await navigator.clipboard.write([new ClipboardItem(kinds)]);
        }""",
        b64encode(file.read_bytes()).decode(),
    )
    visit.page.locator("#picture").get_by_label("Paste").click()
    assert said_on(visit.page) == said_of(place, file)
    check_nothing_went_wrong(visit)


def test_a_camera_takes_a_picture(server: Server, visit: Visit) -> None:
    open_page(visit, server)
    picture = visit.page.locator("#picture")
    picture.get_by_label("Capture from camera").click()
    picture.get_by_text("Click to Access Webcam").click()
    expect(picture.locator("video")).to_have_js_property("readyState", 4)  # there is a picture
    picture.get_by_label("capture photo").click()
    assert said_on(visit.page)
    check_nothing_went_wrong(visit)


def test_only_this_machine_is_served(server: Server) -> None:
    """The whole of 127/8 is this machine; who listens everywhere would answer at 127.0.0.2."""
    socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", server.port), timeout=5)


def test_ctrl_c_ends_it_and_leaves_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    # What a shell runs in the background ignores Ctrl-C, and so do its children.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = start(place, "run")
    finally:
        signal.signal(signal.SIGINT, usual)
    assert list(tmp_path.iterdir())
    found.process.send_signal(signal.SIGINT)
    _, errors = found.process.communicate(timeout=30)
    assert found.process.returncode == 0
    assert errors == ""
    assert [p.name for p in tmp_path.iterdir() if "demo" in p.name or "gradio" in p.name] == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", found.port), timeout=5)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "Name a run's folder"),
        (["run", "--port", "0"], 2, "--port must lie in 1…65535, not 0"),
        (["pictures"], 1, "is no run folder"),
        (["nothing.onnx"], 1, "There is no nothing.onnx: name a run's folder"),
        (["run", "--host", "203.0.113.7"], 1, "Cannot serve at 203.0.113.7"),
    ],
)
def test_bad_input(place: Path, words: list[str], code: int, message: str) -> None:
    found = convworks("demo", *words, cwd=place)
    assert found.returncode == code, found.stderr
    assert message in found.stderr
    assert "Traceback" not in found.stderr


def test_without_gradio_the_way_to_it_is_told(place: Path, tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text("raise ImportError")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from convworks.cli import main"
    found = subprocess.run(
        [sys.executable, "-c", f"{program}; main(['demo', 'run'])"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 1
    (line,) = found.stderr.splitlines()
    assert "pip install '.[demo]'" in line


def test_a_port_that_is_taken_is_told(place: Path, server: Server) -> None:
    found = convworks("demo", "run", "--port", str(server.port), cwd=place)
    assert found.returncode == 1
    (line,) = found.stderr.splitlines()
    assert f"Cannot serve at 127.0.0.1, port {server.port}: Address already in use" in line


def test_colour_and_a_network_that_has_no_map(tmp_path: Path) -> None:
    """A map of one pixel: there is no place to look at, and the page says so."""

    def nowhere(_pixels: np.ndarray) -> np.ndarray:
        raise InputError("there is no place to look at")

    write_digits(tmp_path / "pictures", (0, 1), count=12)
    data = cw.load_data(tmp_path / "pictures", image_size=300)
    assert data.channels == 1
    model = cw.create_model("lenet_bn", num_classes=2, in_channels=1, image_size=300)
    run = cw.fit(model, data, cw.TrainConfig(epochs=1, device="cpu"), progress=False)
    network = open_network(run.path)
    file = next((tmp_path / "pictures").rglob("*.png"))
    found = answer(network, file)
    assert found.view.shape == (300, 300, 3)
    assert found.probabilities.keys() == {"digit0", "digit1"}
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    blind = answer(replace(network, look=nowhere), file)
    assert blind.note == "What it saw. there is no place to look at"
    assert np.ptp(blind.view.astype(int), axis=2).max() == 0
