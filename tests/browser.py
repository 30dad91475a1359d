# SPDX-License-Identifier: MIT
"""Debian's Chromium without a screen, told what to do by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

#: Nothing is asked of anybody but this machine, by the browser itself neither.
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-default-apps", "--hide-scrollbars", "--remote-debugging-port=0"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
#: Keys, and what the protocol wants to know of them.
_KEYS: Mapping[str, dict[str, Any]] = {
    "Tab": {"windowsVirtualKeyCode": 9},
    "Enter": {"windowsVirtualKeyCode": 13, "text": "\r"},
}
_listening = re.compile(rb"DevTools listening on ws://([^/]+)/").match


class Tab:
    """One tab.  said: messages on its console; asked: addresses that it has asked for."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded: asyncio.Future[None] | None = None
        self.said: list[str] = []
        self.asked: list[str] = []
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def begin(self) -> None:
        """Have it tell what happens."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def close(self) -> None:
        """Go away."""
        self._listening.cancel()
        await self._socket.close()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await self._waiting[number]
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, address: str) -> None:
        """Open a page, and wait until it is complete."""
        await self.next_page(partial(self._navigate, address))

    async def _navigate(self, address: str) -> None:
        await self.call("Page.navigate", url=address)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of the promise that it is."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def look_like(self, width: int, scheme: str, *, scripts: bool = True) -> None:
        """How wide the window is, which colours are preferred, and whether scripts run."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.call("Emulation.setEmulatedMedia", features=[feature])
        await self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    async def press(self, key: str) -> None:
        """Press a key, and let it go."""
        more = _KEYS[key] | {"key": key, "code": key}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **more)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    async def next_page(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do what leads to another page, and wait until that is complete."""
        self._loaded = asyncio.get_running_loop().create_future()
        await act()
        await self._loaded

    async def picture(self, file: Path) -> None:
        """Write a picture of the whole page."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    async def _listen(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                self._hear(json.loads(message.data))

    def _hear(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._waiting.pop(message["id"]).set_result(message)
            return
        parameters = message["params"]
        match message["method"]:
            case "Page.loadEventFired" if self._loaded and not self._loaded.done():
                self._loaded.set_result(None)
            case "Network.requestWillBeSent":
                self.asked.append(parameters["request"]["url"])
            case "Log.entryAdded":
                self.said.append(str(parameters["entry"]["text"]))
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.said.append(json.dumps(parameters))
            case "Page.javascriptDialogOpening":
                self.said.append(f"dialog: {parameters['message']}")


@asynccontextmanager
async def a_tab(directory: Path, options: Sequence[str] = ()) -> AsyncIterator[Tab]:
    """A tab of a browser of its own, whose files are in that directory."""
    words = ("chromium", *_OPTIONS, f"--user-data-dir={directory}", *options, "about:blank")
    browser = await asyncio.create_subprocess_exec(
        *words, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        assert browser.stderr is not None
        place = await _place(browser.stderr)
        reading = asyncio.get_running_loop().create_task(browser.stderr.read())
        async with ClientSession() as session:
            async with session.get(f"http://{place}/json/list") as response:
                pages = [each for each in await response.json() if each["type"] == "page"]
            socket = await session.ws_connect(
                pages[0]["webSocketDebuggerUrl"], max_msg_size=64 << 20
            )
            tab = Tab(socket)
            await tab.begin()
            yield tab
            await tab.close()
    finally:
        if browser.returncode is None:
            browser.terminate()
        await browser.wait()
    await reading


async def _place(stderr: asyncio.StreamReader) -> str:
    """Where it listens."""
    async for line in stderr:
        if found := _listening(line):
            return found[1].decode()
    raise AssertionError("Chromium has ended")
