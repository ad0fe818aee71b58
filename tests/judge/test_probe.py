"""A judge is tried before the first update, against servers of many kinds; and bodies without
end."""

import gzip
import json
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from r1reward_jax.judge.client import MOST_BYTES, JudgeRefusedError
from r1reward_jax.judge.probe import probe
from r1reward_jax.types import InputError
from tests.judge.test_local import make_judge
from tests.judge.test_remote import judge_of, pairs
from tests.judge.test_words import chat

KEY = "sk-very-secret"


class Handler(BaseHTTPRequestHandler):
    """Answers with what `server.reply` gives for the body of a request."""

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((self.path, dict(self.headers), body))
        self.answer(*server.reply(body, self.path))

    def do_GET(self):
        self.answer(200, self.server.models)

    def answer(self, status, answer, headers=None):
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(data)
            while "X-Endless" in (headers or {}):
                self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the client has read enough

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked, server.models, server.reply = [], {}, None
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def tried(server, reply, **changed):
    """The judge of a server that answers in some way, after its probe."""
    server.reply = lambda body, path: reply(body)
    judge = judge_of(server, timeout_s=5.0, **changed)
    probe(judge)
    return judge


def argues(body):
    """Whether the example in a request argues for its verdict."""
    text = body["messages"][-1]["content"]
    return f"So Response {text.split('Response ')[-1][0]} is better." in text


def honest(body):
    word = "Yes" if argues(body) else "No"
    return 200, chat(word, (word, -0.05), ("Yes" if word == "No" else "No", -4.0))


def thinks(body):
    """Reasons first, unless its chat template is asked not to."""
    if body["max_tokens"] == 1:
        return 200, chat("<think>", ("<think>", -1e-4), ("Yes", -25.0))
    word = "Yes" if argues(body) else "No"
    answer = chat(f"<think>No? Yes? Hm.</think>\n\n**{word}**")
    answer["choices"][0]["finish_reason"] = "stop"
    return 200, answer | {"usage": {"completion_tokens": 40}}


def refused(server, reply, **changed):
    with pytest.raises(InputError) as caught:
        tried(server, reply, **changed)
    return str(caught.value)


# ------------------------------------------------------------------ that answer


def test_a_judge_that_answers_at_once(server, capsys):
    judge = tried(server, honest, api_key=KEY)
    out, err = capsys.readouterr()
    assert (
        "supports 2 analyses for their verdict with 0.98, 0.98, 2 against it with 0.02, 0.0" in out
    )
    assert not err and len(server.asked) == 4
    assert judge.describe().startswith(f"judge at {judge.url}, with the key of JUDGE_API_KEY")


def test_a_judge_that_says_yes_to_everything_is_told(server, capsys):
    tried(server, lambda body: (200, chat("Yes", ("Yes", -0.1), ("No", -2.4))))
    assert "judge: Yes to all 4 examples, for and against" in capsys.readouterr().err


def test_a_server_without_probabilities_is_read_by_its_text(server, capsys):
    judge = tried(server, lambda body: (200, chat("Yes." if argues(body) else "no")))
    assert "gives no probabilities; its text is read" in capsys.readouterr().err
    assert judge.score([("So Response 1 is better.", 1)]) == [1.0]


def test_a_judge_that_reasons_may_write_first(server, capsys):
    judge = tried(server, thinks)
    err = capsys.readouterr().err
    assert "answers in up to 64 tokens, 40 a pair" in err and "it said '<think>' (Yes and No" in err
    assert judge.dialect.writes == 64 and "logprobs" not in server.asked[-1][2]
    before = judge.tokens
    assert judge.score([("So Response 2 is better.", 2)]) == [1.0] and judge.tokens == before + 40


def test_a_judge_that_can_do_without_thinking(server, capsys):
    def reply(body):
        quiet = body.get("chat_template_kwargs") == {"enable_thinking": False}
        return honest(body) if quiet else thinks(body)

    assert tried(server, reply).dialect.writes == 0
    assert "it answers without thinking" in capsys.readouterr().err


def test_what_it_reasons_in_a_field_of_its_own(server):
    def reply(body):
        if body["max_tokens"] == 1:
            return 200, chat(None, reasoning_content="Okay")
        if "chat_template_kwargs" in body:
            return 400, {"error": {"message": "Unrecognized request argument"}}
        answer = chat("Yes" if argues(body) else "No", reasoning_content="Yes. No. Yes.")
        answer["choices"][0]["finish_reason"] = "stop"
        return 200, answer

    assert tried(server, reply).dialect.writes == 64


def test_what_a_server_does_not_take_is_left_out(server, capsys):
    """Each of four fields is refused once, in the words of four servers."""

    def reply(body):
        if "max_tokens" in body:
            words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        elif body.get("top_logprobs", 0) > 5:
            words = "Requested sample logprobs of 20, which is greater than max allowed: 5"
        elif "temperature" in body:
            words = "Unsupported value: 'temperature' does not support 0 with this model."
        elif body["messages"][0]["role"] == "system":
            words = "System role not supported"
        else:
            return honest(body)
        return 400, {"error": {"message": words}}

    judge = tried(server, reply)
    assert judge.dialect.tops == 5 and judge.score([("So Response 1 is better.", 1)])[0] > 0.9
    err = capsys.readouterr().err
    assert err.count("note: judge: ") == 4 and "it is asked top_logprobs 5" in err


def test_an_address_without_its_version_is_completed(server, capsys):
    def reply(body, path):
        return honest(body) if path == "/v1/chat/completions" else (404, {"detail": "Not Found"})

    server.reply = reply
    url = f"http://127.0.0.1:{server.server_address[1]}"
    judge = judge_of(server, url=url, timeout_s=5.0)
    probe(judge)
    assert judge.url == f"{url}/v1" and f"the API is at {url}/v1" in capsys.readouterr().err


def test_a_server_that_is_not_up_yet_is_waited_for(server, capsys):
    answers = iter([(503, {"message": "loading"}), (429, {"error": {"message": "busy"}})])
    tried(server, lambda body: next(answers, None) or honest(body), probe_s=10.0)
    assert "http 503: loading" in capsys.readouterr().err


# ------------------------------------------------------------- that do not answer


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {"error": {"message": f"Incorrect API key: {KEY}"}}, "Incorrect API key: …"),
        (403, {"message": "not for you"}, "it was sent the key of JUDGE_API_KEY"),
        (404, {"message": "The model `judge` does not exist."}, "judge.model=judge: the server ha"),
        (404, b"", "judge.model=judge: the server has mine, yours"),
        (400, {"error": {"message": "top_logprobs too large"}}, "top_logprobs too large"),
        (422, {"detail": [{"msg": "field required"}]}, "field required"),
        (405, b"Method Not Allowed", "look at judge.url"),
        (402, {"error": "no credit left"}, "no credit left"),
        (429, {"error": {"message": "slow down"}}, "slow down); no answer for 0.5 s"),
        (503, b"<html>down\x1b[2J</html>", "<html>down\\u001b[2J</html>"),
        (200, b"<html>proxy login</html>", "no chat completion: '<html>proxy login</html>'"),
        (200, {"choices": []}, "expected an OpenAI-compatible server"),
        (200, chat("", ("<think>", -1e-4)), "'judge' gives no verdict. Asked for Yes or No, it"),
        (200, chat("It depends"), "with its first token: 'It depends'"),
        (200, chat(None, reasoning_content="Okay"), "'Okay' (cut off at judge.answer_tokens 64)"),
    ],
)
def test_what_no_retry_can_help_ends_the_run_in_the_words_of_the_server(
    status, answer, said, server
):
    server.models = {"data": [{"id": "mine"}, {"id": "yours"}]}
    message = refused(server, lambda body: (status, answer), api_key=KEY)
    assert said in message and len(message) < 1200 and "\n" not in message
    assert f"judge http://127.0.0.1:{server.server_address[1]}/v1" in message
    assert KEY not in message


def test_a_redirect_is_named_and_not_followed(server):
    elsewhere = {"Location": "http://127.0.0.1:1/v2", "Content-Length": "0"}
    message = refused(server, lambda body: (307, b"", elsewhere), api_key=KEY)
    assert "it redirects to http://127.0.0.1:1/v2" in message and len(server.asked) == 1


def test_nobody_there():
    class Nobody:
        server_address = ("127.0.0.1", 9)

    with pytest.raises(InputError, match=r"unreachable \(.*no answer for 0.1 s \(judge.probe_s\)"):
        probe(judge_of(Nobody, probe_s=0.1))


def test_a_mode_that_is_asked_for_is_the_only_one(server):
    assert "in up to" not in refused(server, thinks, mode="token")
    server.asked.clear()
    assert tried(server, thinks, mode="text").dialect.writes == 64
    assert all(body["max_tokens"] == 64 for _, _, body in server.asked)


# ----------------------------------------------------------------- while it runs


def test_a_key_that_is_revoked_ends_the_run(server, capsys):
    judge = tried(server, honest, pause_s=0.01)
    server.reply = lambda body, path: (401, {"error": {"message": "revoked"}})
    with pytest.raises(JudgeRefusedError, match="http 401: revoked"):
        judge.score(pairs(3))
    assert capsys.readouterr().err.count("revoked") == 1  # shown once for three pairs


def test_a_pair_that_is_refused_does_not_end_the_run(server):
    judge = tried(server, honest)
    server.reply = lambda body, path: (
        (400, {"message": "too long"}) if "number" in str(body) else honest(body)
    )
    assert judge.score(pairs(2)) == [None, None] and judge.failures == {"http 400": 2}


def test_answers_that_are_neither_are_counted_and_told(server, capsys):
    judge = tried(server, honest)
    server.reply = lambda body, path: (200, chat("\x1b[31mWell", ("\x1b[31mWell", -0.01)))
    assert judge.score(pairs(3)) == [None] * 3
    assert judge.failures == {"no verdict": 3, "retried": 3}
    assert "no verdict: the judge said '\\\\u001b[31mWell'" in capsys.readouterr().err


# ------------------------------------------------------------------------ bodies

PACKED = {
    "gzip": gzip.compress(b"0" * 50_000_000, 9),
    "deflate": zlib.compress(b"0" * 50_000_000, 9),
}


@pytest.mark.parametrize("encoding", PACKED)
def test_a_small_body_that_unfolds_is_not_unfolded(server, encoding):
    data = PACKED[encoding]
    headers = {"Content-Encoding": encoding, "Content-Length": str(len(data))}
    assert len(data) < 60_000
    message = refused(server, lambda body: (200, data, headers), retries=0)
    assert f"body too large (above {MOST_BYTES:,} bytes)" in message


def test_a_packed_answer_is_read(server):
    def reply(body):
        data = gzip.compress(json.dumps(honest(body)[1]).encode())
        return 200, data, {"Content-Encoding": "gzip", "Content-Length": str(len(data))}

    tried(server, reply)
    assert all(headers["Accept-Encoding"] == "identity" for _, headers, _ in server.asked)


def test_other_packings_are_refused(server):
    headers = {"Content-Encoding": "br", "Content-Length": "3"}
    assert "br was not asked for" in refused(server, lambda body: (200, b"abc", headers), retries=0)


@pytest.mark.parametrize("status", [200, 500])
def test_a_body_without_end(server, status):
    started = time.perf_counter()
    message = refused(server, lambda body: (status, b"x" * 65536, {"X-Endless": "1"}), retries=0)
    assert "body too large" in message and time.perf_counter() - started < 5


# ------------------------------------------------------------------------- here


def test_a_judge_here_that_gives_neither_word_any_probability(loaded, capsys):
    """The likeliest token of random weights is none of ours."""
    judge = make_judge(loaded, min_mass=0.5)
    with pytest.raises(InputError, match=r"no verdict on 4 examples; it begins with '.*together"):
        probe(judge)
    assert judge.failures["no verdict"] == 4
    assert "judge: no verdict, it begins with" in capsys.readouterr().err
    probe(make_judge(loaded))  # every answer is one
