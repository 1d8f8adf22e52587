"""A browser that the test drives, over the pipe that Chromium has for it (the Chrome DevTools Protocol)."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

BROWSER = "chromium"
LIMIT = 30
"""Seconds for each answer."""
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # as root it has none; it reads our page alone
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_START = 'exec "$@" 3<&{} 4>&{} 2>/dev/null'
"""The browser reads commands from descriptor 3, and writes answers to descriptor 4."""


class Browser:
    """One page of a browser."""

    def __init__(self, commands: int, answers: asyncio.StreamReader) -> None:
        self._commands, self._answers = commands, answers
        self._numbers = count(1)
        self._session: dict[str, str] = {}
        self.complaints: list[str] = []
        """What the page wrote on its console, its errors, and what its policy forbade."""

    async def open_page(self) -> None:
        target = await self.ask("Target.createTarget", url="about:blank")
        attached = await self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for each in ("Page", "Runtime", "Log"):
            await self.ask(f"{each}.enable")

    async def ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return (await self._until(lambda answer: answer.get("id") == number))["result"]

    async def _until(self, is_wanted: Any) -> Any:
        async with asyncio.timeout(LIMIT):
            while True:
                answer = json.loads((await self._answers.readuntil(b"\0"))[:-1])
                if answer.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
                    self.complaints.append(json.dumps(answer["params"]))
                if is_wanted(answer):
                    return answer

    async def go(self, page: str, width: int, *, is_dark: bool = False, has_script: bool = True) -> None:
        """Load a page, in a window of this many pixels."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])
        await self.ask("Emulation.setScriptExecutionDisabled", value=not has_script)
        await self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        await self.ask("Page.navigate", url=page)
        await self._until(lambda answer: answer.get("method") == "Page.loadEventFired")

    async def tell(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def keep_picture(self, path: Path) -> None:
        """Keep a picture of the whole page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = await self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Browser]:
    (read_here, write_there), (read_there, write_here) = os.pipe(), os.pipe()
    answers = asyncio.StreamReader(limit=64 * 1024 * 1024)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(answers), os.fdopen(read_here, "rb")
    )
    shell = ("bash", "-c", _START.format(read_there, write_there), "bash", BROWSER, *_OPTIONS)
    process = await asyncio.create_subprocess_exec(
        *shell, f"--user-data-dir={profile}", pass_fds=(read_there, write_there)
    )
    os.close(read_there)
    os.close(write_there)
    try:
        found = Browser(write_here, answers)
        await found.open_page()
        yield found
    finally:
        os.close(write_here)  # then it ends
        try:
            await asyncio.wait_for(process.wait(), LIMIT)
        except TimeoutError:
            process.kill()
            await process.wait()
        transport.close()
