"""A real browser without a window: Chromium, spoken to over a pipe in its own protocol."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowRight": 39}
PATIENCE = 60.0  # seconds


def program():
    """The path of a browser, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab. `errors` and `requests` gather what the pages opened so far said and asked for."""

    def __init__(self):
        self._profile = tempfile.mkdtemp(prefix="browser")
        down, self._write = os.pipe()
        self._read, up = os.pipe()

        # The browser reads from 3 and writes to 4: set by the system's own call, without a fork.
        words = [program(), *SWITCHES, f"--user-data-dir={self._profile}", "about:blank"]
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in (down, up)]
        actions = [(os.POSIX_SPAWN_DUP2, one, place) for place, one in enumerate(high, 3)]
        actions += [(os.POSIX_SPAWN_OPEN, i, os.devnull, os.O_RDWR, 0) for i in (0, 1, 2)]
        self._process = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
        for one in high:
            os.close(one)
        os.close(down)
        os.close(up)
        self._number, self._rest, self._session = 0, b"", None
        self.errors, self.requests, self._loaded = [], [], False
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for room in ("Page", "Runtime", "Log", "Network"):
            self(f"{room}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self("Browser.close")
        os.waitpid(self._process, 0)
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __call__(self, method, **parameters):
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for answer in self._answers(end):
                if answer.get("id") == self._number:
                    assert "error" not in answer, answer["error"]
                    return answer["result"]
        raise TimeoutError(method)

    def open(self, url, wide=1280, high=900, dark=False):
        """Open a page at a size, light or dark, and wait until it has loaded."""
        self("Emulation.setDeviceMetricsOverride", width=wide, height=high,
             deviceScaleFactor=1, mobile=wide < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self("Page.navigate", url=url)
        end = time.monotonic() + PATIENCE
        while not self._loaded and time.monotonic() < end:
            self._answers(end)
        assert self._loaded, url

    def evaluate(self, script):
        """Return the value of an expression of the page."""
        result = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script, seconds=PATIENCE):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.evaluate(script):
                return
            time.sleep(0.1)
        raise TimeoutError(script)

    def press(self, key, text=""):
        """Press a key and let it go."""
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                 text=text if kind == "keyDown" else "",
                 windowsVirtualKeyCode=CODES.get(key, 0))  # fmt: skip

    def screenshot(self, path, whole=True):
        """Write a PNG of the page."""
        shot = self("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def asked_elsewhere(self, *allowed):
        """Requests of addresses that begin with none of those allowed."""
        return [url for url in self.requests if not url.startswith((*allowed, "data:", "blob:"))]

    def _answers(self, end):
        ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return []
        *whole, self._rest = (self._rest + os.read(self._read, 2**20)).split(b"\0")
        answers = [json.loads(one) for one in whole]
        for answer in answers:
            self._note(answer.get("method"), answer.get("params", {}))
        return answers

    def _note(self, event, told):
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(str(told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(told["entry"]["text"] + " " + told["entry"].get("url", ""))
