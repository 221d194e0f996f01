"""A model behind an endpoint that speaks OpenAI's chat protocol (llama.cpp, vLLM, Ollama ...).

aac-llm has captions repaired and judged by it, r1-aqa questions about sounds answered. The same file is in
both; a test compares them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from audio_common.strict_json import JSONError, is_writable_text, parse_json

if TYPE_CHECKING:
    import httpx

GIVE_UP_AFTER = 5
"""Questions in a row without an answer until no more requests are made."""
FIRST_WAIT = 0.5
"""Seconds before the second try, doubled with every further one."""
LONGEST_WAIT = 60.0
"""Seconds between two tries, whatever the endpoint asks for."""
MAX_ANSWER_BYTES = 1_000_000
REFUSALS = (400, 413, 415, 422)
"""HTTP codes by which a service refuses one request: too long, or of a kind that the model does not take."""

T = TypeVar("T")
Conversation: TypeAlias = Sequence[dict[str, Any]]
"""Turns, each with its `role` and `content`, a text or a list of parts; the last one asks."""


class _Settings(Protocol):
    """Settings that every verb with an endpoint has."""

    @property
    def endpoint(self) -> str | None: ...
    @property
    def api_key_variable(self) -> str: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def request_timeout(self) -> float: ...
    @property
    def max_retries(self) -> int: ...
    @property
    def concurrency(self) -> int: ...


class LLMError(Exception):
    """Why there is no answer."""


class CutAnswerError(LLMError):
    """The answer was stopped before its end; asked again, it would be the same."""

    def __init__(self, answer: str) -> None:
        super().__init__("the answer was cut (max_new_tokens allows more)")
        self.answer = answer

    @property
    def has_whole_line(self) -> bool:
        """Return whether its first line is whole, since more comes after it."""
        return "\n" in self.answer.strip()


class RefusedError(LLMError):
    """The service works, but does not take this request."""


class Endpoint:
    """A service that continues conversations.

    A request is tried again when the service is busy (429), broken (5xx) or not there, waiting longer each
    time or as long as it asks for. After some failures in a row no more requests are made, so that a dead
    endpoint does not hold up a long job. The key is sent to the service and written nowhere; redirections,
    which could take it elsewhere, are not followed.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        *,
        api_key: str | None = None,
        max_new_tokens: int = 64,
        timeout: float = 30.0,
        max_retries: int = 3,
        concurrency: int = 4,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Args:
        endpoint: address up to the version, such as `http://localhost:8000/v1`.
        model: the service's name of the model.
        api_key: sent as a bearer token, if any.
        max_new_tokens: most tokens of an answer.
        timeout: seconds for one request, from looking up the address to the last byte of the answer.
        max_retries: tries after the first.
        concurrency: requests at the same time.
        sleep: how to wait between tries.
        """
        self.url = f"{endpoint.rstrip('/')}/chat/completions"
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.timeout = timeout
        self.max_retries = max_retries
        self.concurrency = concurrency
        self._api_key = api_key.strip() if api_key else None
        if self._api_key and not (self._api_key.isascii() and self._api_key.isprintable()):
            raise ValueError(
                "the endpoint's key has characters that no header can carry; is it the right variable?"
            )
        self._sleep = sleep
        self._failures = 0  # in a row
        self._last_failure = ""
        self._has_answered = False

    @classmethod
    def from_settings(cls, settings: _Settings, model: str) -> Endpoint:
        """Make the endpoint that settings name, with its key from the environment, if there is one."""
        return cls(
            str(settings.endpoint),
            model,
            api_key=os.environ.get(settings.api_key_variable),
            max_new_tokens=settings.max_new_tokens,
            timeout=settings.request_timeout,
            max_retries=settings.max_retries,
            concurrency=settings.concurrency,
        )

    @property
    def given_up(self) -> str | None:
        """Return why no more requests are made; None while they are."""
        if self._failures < GIVE_UP_AFTER:
            return None
        return f"the endpoint was given up after {GIVE_UP_AFTER} failures: {self._last_failure}"

    def ask(self, conversations: Sequence[Conversation]) -> list[str | LLMError]:
        """Return the service's answer to each conversation, or why there is none."""
        return run_elsewhere(self._ask_all(conversations))

    async def _ask_all(self, conversations: Sequence[Conversation]) -> list[str | LLMError]:
        import httpx

        # Compressed, a few bytes could become gigabytes.
        headers = {"Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        turns = asyncio.Semaphore(self.concurrency)
        async with httpx.AsyncClient(headers=headers, timeout=None, follow_redirects=False) as client:

            async def ask(conversation: Conversation) -> str | LLMError:
                async with turns:
                    return await self._ask(client, conversation)

            return list(await asyncio.gather(*map(ask, conversations)))

    async def _ask(self, client: httpx.AsyncClient, conversation: Conversation) -> str | LLMError:
        # Other requests may have found the endpoint dead meanwhile.
        if self.given_up:
            return LLMError(self.given_up)
        try:
            answer = await self._try(client, conversation)
        except CutAnswerError as error:
            self._note(None)  # the service works
            return error
        except LLMError as error:
            # What a service that works refuses is that request's fault; one that refuses all is not right.
            if not (isinstance(error, RefusedError) and self._has_answered):
                self._note(str(error))
            return error
        self._note(None)
        return answer

    def _note(self, failure: str | None) -> None:
        # Counts in a row only: a service that answers now and then is slow, not dead. But one that was given
        # up stays so, whatever else was on its way.
        if failure is not None or not self.given_up:
            self._failures = 0 if failure is None else self._failures + 1
        self._has_answered |= failure is None
        self._last_failure = failure or self._last_failure

    async def _try(self, client: httpx.AsyncClient, conversation: Conversation) -> str:
        wait = FIRST_WAIT
        for left in range(self.max_retries, -1, -1):
            try:
                return await self._post(client, conversation)
            except _BusyError as busy:
                if not left or self.given_up:
                    raise LLMError(str(busy)) from busy
                await self._sleep(min(LONGEST_WAIT, wait if busy.wait is None else busy.wait))
                wait *= 2
        raise AssertionError("unreachable")

    async def _post(self, client: httpx.AsyncClient, conversation: Conversation) -> str:
        import httpx

        body = {
            "model": self.model,
            "messages": list(conversation),
            # The same question gets the same answer again, as far as the service allows.
            "temperature": 0,
            "max_tokens": self.max_new_tokens,
        }
        try:
            # Not httpx's time-out, which is for each step alone: a service that sends a byte of its headers
            # or of its answer now and then would hold on for ever.
            async with asyncio.timeout(self.timeout):
                async with client.stream("POST", self.url, json=body) as response:
                    content = await self._read(response)
        except TimeoutError as e:
            raise _BusyError(f"the answer took longer than {self.timeout:g} s") from e
        except (httpx.TransportError, httpx.DecodingError) as e:
            raise _BusyError(f"{type(e).__name__}: {self._hide(str(e))}") from e
        except (httpx.InvalidURL, UnicodeError) as e:
            raise LLMError(f"endpoint {self.url} is no address: {e}") from e
        # Busy or broken: later it may work. Other codes (a wrong key, no such model) will not change.
        if response.status_code == 429 or response.status_code >= 500:
            raise _BusyError(
                f"HTTP {response.status_code}", _retry_after(response.headers.get("retry-after"))
            )
        if response.status_code != 200:
            # Services may echo headers in their errors; the key must not reach a log or a file.
            said = self._hide(content[:200].decode("utf-8", "replace"))
            kind = RefusedError if response.status_code in REFUSALS else LLMError
            raise kind(f"HTTP {response.status_code}: {' '.join(said.split())}")
        return read_answer(content)

    async def _read(self, response: httpx.Response) -> bytes:
        """Read the body, up to a limit."""
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise LLMError(f"the answer is compressed ({encoding[:20]!r}), which was not asked for")
        content = b""
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > MAX_ANSWER_BYTES:
                raise LLMError(f"the answer has more than {MAX_ANSWER_BYTES:,} bytes")
        return content

    def _hide(self, text: str) -> str:
        return text.replace(self._api_key, "[key]") if self._api_key else text


class _BusyError(Exception):
    """The request may be tried again."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def _retry_after(value: str | None) -> float | None:
    """Return seconds; None for a date, which is rare."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    # NaN is a number for float().
    return max(0.0, seconds) if seconds == seconds else None


def read_answer(content: bytes) -> str:
    """Return the text in an answer of the protocol.

    Raises:
        CutAnswerError: it was stopped before its end, maybe before its first word.
        LLMError: it is not JSON, or not of the protocol.
    """
    try:
        record = parse_json(content, "the endpoint's answer")
    except JSONError as e:
        raise LLMError(str(e)) from e
    try:
        text = record["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as e:
        raise LLMError("the endpoint's answer has no choices[0].message.content") from e
    is_cut = record["choices"][0].get("finish_reason") == "length"
    if text is None and is_cut:  # all that it may write was thinking, which services keep apart
        raise CutAnswerError("")
    if isinstance(text, list) and all(isinstance(part, dict) for part in text):
        # Some services answer in parts, as they are asked.
        text = "".join(
            str(part.get("text") or "") for part in text if part.get("type") in ("text", "output_text")
        )
    if not isinstance(text, str):
        raise LLMError(f"the endpoint's answer has no text, but {type(text).__name__}")
    if not is_writable_text(text):
        raise LLMError("the endpoint's answer has characters that no file can hold")
    if is_cut:
        raise CutAnswerError(text)
    return text


def run_elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own, as the caller may have an event loop; Ctrl-C ends it."""
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(1, thread_name_prefix="endpoint") as pool:
        future = pool.submit(asyncio.run, run())
        try:
            return future.result()
        except KeyboardInterrupt:
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            raise
