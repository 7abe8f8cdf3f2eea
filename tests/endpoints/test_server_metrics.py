from __future__ import annotations

import re

from server_support import Caller

SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="([^"]*)"\})? ([0-9.e+-]+)')


def _samples(endpoint: Caller) -> dict[tuple[str, str], float]:
    found = {}
    for line in endpoint.text("/metrics").splitlines():
        if not line.startswith("#"):
            parts = SAMPLE.fullmatch(line)
            assert parts, line
            found[parts[1], parts[3] or ""] = float(parts[4])
    return found


def test_metrics_count_what_was_asked_under_tgis_names(endpoint: Caller) -> None:
    before = _samples(endpoint)
    lengths = [int(endpoint.generate("hello world", max_new_tokens=7).headers["x-generated-tokens"])]
    stream = endpoint.text("/generate_stream", {"inputs": "hello", "parameters": {"max_new_tokens": 5}})
    lengths.append(stream.count("data: "))
    lengths.append(endpoint.chat("hello", max_tokens=2).body["usage"]["completion_tokens"])
    endpoint.generate("hello", top_p=1.0)
    after = _samples(endpoint)

    def grown(name: str, label: str = "") -> float:
        return after[name, label] - before.get((name, label), 0)

    assert grown("tgi_request_count") == 4
    assert grown("tgi_request_success") == 3
    assert grown("tgi_request_failure", "validation") == 1
    assert grown("tgi_request_generated_tokens_sum") == sum(lengths)
    assert grown("tgi_request_generated_tokens_bucket", "8") == 3
    assert grown("tgi_request_generated_tokens_bucket", "2") == 1
    assert grown("tgi_request_max_new_tokens_sum") == 7 + 5 + 2
    assert grown("tgi_request_duration_count") == grown("tgi_request_duration_bucket", "+Inf") == 3
    assert grown("tgi_request_inference_duration_sum") > 0
    assert after["tgi_queue_size", ""] == after["tgi_batch_current_size", ""] == 0


def test_histograms_have_a_type_and_buckets_that_only_grow(endpoint: Caller) -> None:
    endpoint.generate("hello", max_new_tokens=1)
    text = endpoint.text("/metrics")
    counts = [int(line.split()[1]) for line in text.splitlines() if "request_queue_duration_bucket" in line]
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert "# TYPE tgi_request_queue_duration histogram" in text
    assert "# TYPE tgi_request_count counter" in text
