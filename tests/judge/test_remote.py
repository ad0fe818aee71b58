"""The remote judge against a real server that misbehaves on purpose."""

import asyncio
import contextlib
import email.utils
import json
import math
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from r1reward_jax.judge.cached import CachedJudge
from r1reward_jax.judge.client import retry_after
from r1reward_jax.judge.remote import RemoteConfig, RemoteJudge
from r1reward_jax.prompts import TEMPLATES, judge_prompt, last_lines
from r1reward_jax.types import InputError

TEMPLATE = TEMPLATES["full"]


def truth(number: int) -> float:
    """What the server thinks of analysis `number`: never the same twice in a row."""
    return (1 + number * 37 % 97) / 99


def completion(probability: float):
    def top(word, p):
        return {"token": word, "logprob": math.log(p)}

    tops = [top("Yes", 0.9 * probability), top(" No", 0.9 * (1 - probability)), top("Well", 0.1)]
    message = {"role": "assistant", "content": "Yes" if probability > 0.5 else "No"}
    return {"choices": [{"message": message, "logprobs": {"content": [{"top_logprobs": tops}]}}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # headers and body in one packet, or each waits for an acknowledgement

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        # -1: the examples that a judge is tried with have no number
        number = int((text.split("analysis number ")[1:] or ["-1"])[0].split()[0])
        with server.lock:
            server.seen[number] += 1
            server.requests.append((time.monotonic(), number, self.path, dict(self.headers), body))
            attempt = server.seen[number]
            server.open += 1
            server.most = max(server.most, server.open)
        time.sleep(server.latency)
        with server.lock:
            server.open -= 1
        fault = server.fault(number, attempt)
        with contextlib.suppress(OSError):  # the client may have gone
            self.answer(fault, number)

    def answer(self, fault, number):
        text = self.server.text(max(number, 0))
        status, headers = 200, {}
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "hang":
            time.sleep(1.0)
        elif fault == "garbage":
            text = '{"choices": ['
        elif fault == "chatter":
            answer = completion(0.5)
            answer["choices"][0] |= {"logprobs": None, "message": {"content": "It depends"}}
            text = json.dumps(answer)
        elif fault == "nan":
            answer = completion(0.5)
            for top in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
                top["logprob"] = float("nan")
            answer["choices"][0]["message"]["content"] = ""
            text = json.dumps(answer)
        elif fault == "swapped":
            headers["X-Request-Id"] = "row-of-somebody-else"
            text = json.dumps(completion(truth(number + 1)))
        elif isinstance(fault, int):
            status, text = fault, self.server.why
            headers |= {"Retry-After": self.server.retry_after} if fault in (429, 503) else {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 256


@pytest.fixture
def server():
    server = Server(("127.0.0.1", 0), Handler)
    server.lock, server.seen, server.requests = threading.Lock(), Counter(), []
    server.latency, server.retry_after = 0.0, "0"
    server.fault = lambda number, attempt: None
    server.text = lambda number: json.dumps(completion(truth(number)))
    server.open, server.most, server.why = 0, 0, ""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def judge_of(server, **changed) -> RemoteJudge:
    settings = {
        "url": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "model": "judge",
        "api_key": "",
        "api_key_env": "JUDGE_API_KEY",
        "mode": "auto",
        "answer_tokens": 64,
        "min_mass": 0.5,
        "probe_s": 0.5,
        "concurrency": 32,
        "timeout_s": 0.5,
        "retries": 2,
        "backoff_s": 0.01,
        "budget_s": 60.0,
        "pause_share": 1.0,
        "pause_s": 0.0,
    }
    return RemoteJudge(TEMPLATE, RemoteConfig(**settings | changed))


def pairs(count):
    return [(f"analysis number {i} argues", 1 + i % 2) for i in range(count)]


def test_a_thousand_requests_one_in_ten_broken(server):
    """Every row has its own answer or none; nothing is swapped, nothing lost."""
    kinds = ("drop", "garbage", "chatter", "nan", "swapped", 500, 503, 429, 400, "hang")
    lasting = {i for i in range(1000) if i % 10 == 3 and i % 20 == 3}

    def fault(number, attempt):
        broken = number % 10 == 3 and (attempt == 1 or number in lasting)
        return kinds[number // 20 % len(kinds)] if broken else None

    server.fault = fault
    judge = judge_of(server)
    answers = judge.score(pairs(1000))
    assert len(answers) == 1000
    for number, answer in enumerate(answers):
        refused = fault(number, 1) == 400  # not tried again
        if number in lasting or refused:
            assert answer is None, number
        else:
            assert answer == pytest.approx(truth(number), abs=1e-6), number
    lost = sum(answer is None for answer in answers)
    failed = {k: n for k, n in judge.failures.items() if k != "retried"}
    assert sum(failed.values()) == lost > 50
    assert set(failed) == {
        *("http 400", "http 429", "http 500", "http 503", "malformed", "timeout", "unreachable"),
        *("another row's answer", "no verdict"),
    }
    assert judge.failures["retried"] >= 2 * sum(fault(i, 1) != 400 for i in lasting)


def test_many_at_a_time_are_ten_times_as_fast(server):
    """Than one after the other, which takes the server's latency as often as there are pairs."""
    assert None not in judge_of(server, concurrency=1).score(pairs(8)) and server.most == 1
    server.latency = 0.5
    started = time.perf_counter()
    judge = judge_of(server, concurrency=64, timeout_s=30.0)
    assert None not in judge.score(pairs(64))
    assert time.perf_counter() - started < 64 * server.latency / 10 and server.most > 32


def test_no_more_requests_at_a_time_than_allowed(server):
    """Also by several batches that are under way together."""
    server.latency = 0.02
    judge = judge_of(server, concurrency=4)
    waits = [judge.start(pairs(24)[i : i + 8]) for i in (0, 8, 16)]
    assert all(None not in wait() for wait in waits) and server.most == 4
    starts = sorted(t for t, *_ in server.requests)
    assert all(later - starts[i] >= 0.015 for i, later in enumerate(starts[4:]))


def test_what_is_asked(server):
    judge_of(server, api_key="secret").score([("analysis number 7 says so", 2)])
    ((_, _, path, headers, body),) = server.requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer secret"
    assert body["model"] == "judge" and body["temperature"] == 0 and body["logprobs"]
    text = body["messages"][-1]["content"]
    assert "analysis number 7 says so" in text and "Response 2 is better" in text


def test_it_waits_as_long_as_the_server_asks(server):
    server.retry_after = "0.4"
    server.fault = lambda number, attempt: 429 if attempt == 1 else None
    assert None not in judge_of(server).score(pairs(2))
    for number in range(2):
        first, second = (t for t, n, *_ in server.requests if n == number)
        assert second - first >= 0.4


def test_a_batch_has_a_budget(server):
    server.latency = 0.2
    judge = judge_of(server, concurrency=2, budget_s=0.5)
    started = time.perf_counter()
    answers = judge.score(pairs(40))
    assert time.perf_counter() - started < 3
    assert sum(a is not None for a in answers) < 10 and judge.failures["over budget"] > 30


def test_who_waits_keeps_nobody_from_asking(server):
    """Four of twenty are told to come back later than the budget allows."""
    server.retry_after = "5"
    server.fault = lambda number, attempt: 429 if number < 4 else None
    judge = judge_of(server, concurrency=4, budget_s=2.0)
    answers = judge.score(pairs(20))
    assert answers[:4] == [None] * 4 and None not in answers[4:]
    assert judge.failures == {"over budget": 4} and len(server.requests) == 20


def test_a_budget_begins_with_the_first_request(server):
    """Of two batches that wait for the same two places, each has its own."""
    server.latency = 0.1
    judge = judge_of(server, concurrency=2, budget_s=0.9)
    first, second = judge.start(pairs(10)), judge.start(pairs(20)[10:])
    assert None not in first() and None not in second()


def said(capsys) -> list[str]:
    """The warnings about the judge."""
    return [line for line in capsys.readouterr().err.splitlines() if "warning: judge" in line]


def test_a_budget_holds_over_the_pause(server, capsys):
    server.latency = 0.1
    server.fault = lambda number, attempt: 500
    judge = judge_of(server, budget_s=0.6, pause_share=0.5, pause_s=0.3, retries=50)
    started = time.perf_counter()
    assert judge.score(pairs(4)) == [None] * 4
    assert time.perf_counter() - started < 1.5
    assert "no time is left to ask again" in said(capsys)[0]


def test_one_failure_in_the_last_batch_is_no_reason_to_pause(server, capsys):
    server.fault = lambda number, attempt: 400 if number == 24 else None
    judge = judge_of(server, pause_share=0.5, pause_s=30.0)
    assert None not in judge.score(pairs(24))
    assert judge.score(pairs(25)[24:]) == [None] and not said(capsys)
    assert server.seen[-1] == 1  # an example is answered: the reason is the pair


def test_what_is_refused_is_not_asked_again(server, capsys):
    server.fault = lambda number, attempt: 400 if number < 3 else 500 if attempt == 1 else None
    judge = judge_of(server, pause_share=0.2, retries=0, timeout_s=10.0)  # however busy we are
    assert judge.score(pairs(6))[:3] == [None] * 3
    assert [server.seen[number] for number in range(6)] == [1, 1, 1, 2, 2, 2]
    assert "no verdict on 6 of 6 pairs (http 400 3, http 500 3)" in said(capsys)[0]


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 400, '"\\ud800"', "[1e999]", "nul", ""])
def test_whatever_a_server_says(server, text):
    """As a whole answer, and in the place of a log-probability."""
    answer = completion(0.5)
    answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] = "HERE"
    texts = [text, json.dumps(answer).replace('"HERE"', text)]
    server.text = lambda number: texts[number]
    judge = judge_of(server, retries=0, timeout_s=10.0)
    assert judge.score(pairs(2)) == [None] * 2 and judge.failures == {"malformed": 2}


def test_half_a_character_cannot_be_sent(server):
    judge = judge_of(server)
    found = judge.score([("analysis number 1 \ud800", 1), ("analysis number 2 x", 1)])
    assert found[0] is None and found[1] is not None and judge.failures == {"not text": 1}


def test_a_dead_server_is_said_and_the_run_goes_on(capsys):
    class Nobody:
        server_address = ("127.0.0.1", 9)

    judge = judge_of(Nobody, pause_share=0.5, retries=0)
    assert judge.score(pairs(5)) == [None] * 5
    why, pause, rest = said(capsys)
    assert "unreachable: " in why  # in the words of the system
    assert "no verdict on 5 of 5 pairs (unreachable 5)" in pause
    assert "still 5 without verdict" in rest


def test_a_server_that_recovers_in_the_pause(server, capsys):
    server.fault = lambda number, attempt: 500 if attempt == 1 else None
    answers = judge_of(server, pause_share=0.2, retries=0, timeout_s=10.0).score(pairs(6))
    assert None not in answers and len(said(capsys)) == 1


def test_no_pairs_no_requests(server):
    assert judge_of(server).score([]) == [] and not server.requests


def test_it_works_where_an_event_loop_runs(server):
    """As in a notebook. In a thread of its own: where a browser is open, a loop runs already."""

    async def cell():
        return judge_of(server).score(pairs(3))

    with ThreadPoolExecutor(1) as pool:
        assert None not in pool.submit(asyncio.run, cell()).result()


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"url": "localhost:1"}, "judge.url"), ({"model": ""}, "judge.model")]
    + [({"concurrency": 0}, "concurrency")],
)
def test_settings_that_make_no_sense(server, changed, named):
    with pytest.raises(InputError, match=named):
        judge_of(server, **changed)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("nan", 0.0), ("inf", 0.0)],
)
def test_retry_after(text, seconds):
    assert retry_after({"Retry-After": text}) == seconds


def test_retry_after_a_date():
    later = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 55 < retry_after({"Retry-After": later}) <= 60
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({}) == 0.0


# ----------------------------------------------------------------------- cache


class Counting:
    def __init__(self, batch=100):
        self.asked, self.batch = [], batch

    def start(self, pairs):
        self.asked.append(list(pairs))
        return lambda: [None if "mute" in a else len(a) / 100 for a, _ in pairs]


def test_a_pair_is_judged_once():
    judge = Counting()
    cached = CachedJudge(judge)
    assert cached.score([("abc", 1), ("abc", 1), ("abc", 2)]) == [0.03] * 3
    assert cached.score([("abc", 2), ("mute", 1), ("ab", 1)]) == [0.03, None, 0.02]
    assert cached.score([("mute", 1), ("ab", 1)]) == [None, 0.02]
    assert judge.asked == [[("abc", 1), ("abc", 2)], [("mute", 1), ("ab", 1)], [("mute", 1)]]
    assert cached.score([]) == [] and len(judge.asked) == 3


def test_pairs_are_asked_for_in_groups():
    """Full ones at once, the rest when somebody waits; a pair under way is not asked again."""
    judge = Counting(batch=3)
    cached = CachedJudge(judge)
    waits = [cached.start([(text, 1)]) for text in ("a", "bb", "a", "ccc", "dddd", "bb", "e" * 5)]
    assert [len(asked) for asked in judge.asked] == [3]
    assert [wait() for wait in waits] == [[0.01], [0.02], [0.01], [0.03], [0.04], [0.02], [0.05]]
    assert [[a for a, _ in asked] for asked in judge.asked] == [
        ["a", "bb", "ccc"],
        ["dddd", "eeeee"],
    ]
    assert cached.score([("dddd", 1)]) == [0.04] and len(judge.asked) == 2


@pytest.mark.parametrize("late", [False, True])
def test_a_judge_that_fails_can_be_asked_again(late):
    """While it is asked, or while its answers are waited for."""

    class Failing(Counting):
        def start(self, pairs):
            wait = super().start(pairs)
            if len(self.asked) > 1:
                return wait
            if not late:
                raise RuntimeError("now")

            def fail():
                raise RuntimeError("later")

            return fail

    cached = CachedJudge(Failing(batch=2))
    with pytest.raises(RuntimeError):
        cached.score([("a", 1), ("bb", 1)])
    assert cached.score([("a", 1), ("bb", 1), ("ccc", 1)]) == [0.01, 0.02, 0.03]
    assert [len(asked) for asked in cached.judge.asked] == [2, 2, 1]


def test_answers_do_not_depend_on_who_waits_first():
    """Each of many overlapping lots, waited for in every order, mutes among them."""
    rng = random.Random(0)
    for trial in range(50):
        cached = CachedJudge(Counting(batch=rng.randint(1, 5)))
        lots = [[(rng.choice("abcdefg") * 3, 1) for _ in range(4)] for _ in range(6)]
        lots[trial % 6].append(("mute", 2))
        started = [(lot, cached.start(lot)) for lot in lots]
        rng.shuffle(started)
        for lot, wait in started:
            assert wait() == [None if a == "mute" else 0.03 for a, _ in lot]
        assert not cached._batches


def test_last_lines():
    text = "one\n\ntwo\n three \n\nfour\n"
    assert last_lines(text, 3) == "two\n three \nfour"
    assert last_lines(text, 0) == text and last_lines("one", 3) == "one"
    template = replace(TEMPLATES["full"], judge_lines=1)
    assert judge_prompt(text, 1, template) == judge_prompt("four", 1, TEMPLATES["full"])
