"""What makes the picture in the browser: WebGPU where there is one and it is right, else WebAssembly.

The graphics card, and onnxruntime-web's program for it, are replaced by small ones that fail in one way each; all else
is the page. WebAssembly is the real one where a card fails, and a small one, to save time, where only the choice is
looked at.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.chromium import PROGRAM, browser
from codec.view import assets
from tests.support.page import STATE, serving

FILE = Path(__file__).parents[1] / "golden" / "model6-gray-odd.ldc"
GRAY = 100  # of the pictures that the small program makes

pytestmark = pytest.mark.skipif(PROGRAM is None or not assets.built(), reason="no Chromium, or the page is not built")

#: ADAPTER: what navigator.gpu.requestAdapter() answers
CARD = """
const adapter = ADAPTER;
const requestAdapter = async () => adapter ?? Promise.reject(new Error("no adapter"));
Object.defineProperty(navigator, "gpu", { value: { requestAdapter }, configurable: true });
"""
#: FAILS: whether a session cannot be made on the card; OFF: grey levels by which its pictures are wrong
RUNTIME = """
export const env = { wasm: {} };
export class Tensor {
  constructor(type, data, dims) {
    Object.assign(this, { type, data, dims });
  }
}
export const InferenceSession = {
  async create(graph, { executionProviders: [name] }) {
    if (FAILS && name === "webgpu") throw new Error("the device was lost");
    const gray = name === "webgpu" ? GRAY + OFF : GRAY;
    return {
      async run({ v_hat: { dims: [, , h, w] } }) {
        const data = new Uint8Array(16 * h * 16 * w * 3).fill(gray);
        return { rgb: { getData: async () => data, dispose() {} } };
      },
      async release() {},
    };
  },
};
"""


@pytest.fixture(scope="module")
def tab():
    with browser() as opened:
        yield opened


@pytest.mark.parametrize(
    "what, query, adapter, fails, off, network",
    [
        ("a card that is right", "", {"info": {"isFallbackAdapter": False}}, False, 1, "WebGPU"),
        ("a card that is wrong", "", {"info": {"isFallbackAdapter": False}}, False, 2, "WebAssembly"),
        ("a card that fails", "", {"info": {"isFallbackAdapter": False}}, True, 0, "WebAssembly"),
        ("software, which is slower", "", {"info": {"isFallbackAdapter": True}}, False, 0, "WebAssembly"),
        ("no card", "", None, False, 0, "WebAssembly"),
        ("not wanted", "&backend=wasm", {"info": {"isFallbackAdapter": False}}, False, 0, "WebAssembly"),
        ("software that is wanted", "&backend=webgpu", {"info": {"isFallbackAdapter": True}}, False, 0, "WebGPU"),
        ("wanted, and wrong", "&backend=webgpu", {"info": {"isFallbackAdapter": False}}, False, 2, None),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) and " " in value else "",
)
def test_choice(tab, tmp_path, what, query, adapter, fails, off, network):
    values = {"ADAPTER": json.dumps(adapter), "FAILS": json.dumps(fails), "OFF": str(off), "GRAY": str(GRAY)}
    texts = {
        "card.js": CARD,
        "worker.js": 'import "./card.js";\n' + (assets.PAGE / "worker.js").read_text(),
        "runtime/ort.webgpu.js": RUNTIME,
        "runtime/ort.webgpu.bin": "nothing",
    }
    if not (real := what == "a card that fails"):
        texts |= {"runtime/ort.wasm.js": RUNTIME, "runtime/ort.wasm.bin": "nothing"}
    files = {"files/a.ldc": FILE}
    for name, text in texts.items():
        files[name] = tmp_path / name.replace("/", "-")
        if name != "worker.js":
            for word, value in values.items():
                text = text.replace(word, value)
        files[name].write_text(text)
    with serving(files) as address:
        tab.open(f"{address}index.html?src=files/a.ldc{query}")
        tab.wait(f"['done', 'refused'].includes({STATE})")
        if network is None:
            assert tab.evaluate(STATE) == "refused" and tab.evaluate("plane.hidden")
            assert "WebGPU is off by up to 2 grey levels" in tab.evaluate("reason.textContent")
            return
        assert tab.evaluate(STATE) == "done", tab.evaluate("reason.textContent")
        assert tab.evaluate("times.textContent").endswith(f"Network{network}")
        pixels = tab.evaluate("Array.from(decoded.getContext('2d').getImageData(0, 0, 53, 37).data)")
    got = np.array(pixels).reshape(37, 53, 4)[..., 0]
    if real:
        assert np.abs(got - np.asarray(Image.open(FILE.with_suffix(".png")), int)).max() <= 1
    else:
        assert (got == (GRAY + off if network == "WebGPU" else GRAY)).all()
