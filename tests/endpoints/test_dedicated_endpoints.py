"""Inference Endpoints: what is asked of the service, what a user is told, and what is never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_inference_endpoints import TOKEN, FakeService, inference_endpoints
from huggingface_hub import constants
from server_support import BASE, Caller

from hub_tools.endpoints import dedicated, hiring, leases
from hub_tools.endpoints.dedicated import Dedicated, Wanted
from hub_tools.endpoints.leases import Lease
from hub_tools.errors import BackforthError, EndpointDown

SHA = "a" * 40


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dedicated, "POLL", 0.02)
    monkeypatch.setattr(dedicated, "PAUSE", 0.01)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def fake(endpoint: Caller, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    with inference_endpoints(endpoint.url) as service:
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", service.address)
        yield service


def wanted(**changes: object) -> Wanted:
    return Wanted(**{"repo": BASE, "sha": SHA, "instance": "nvidia-l4-x1", **changes})  # type: ignore[arg-type]


def up(said: list[str], **changes: object) -> str:
    return hiring.bring_up(Dedicated(TOKEN, "org"), wanted(**changes), "mine", None, said.append, 5)


def test_an_endpoint_comes_up_at_the_pinned_revision_and_answers(fake: FakeService, endpoint: Caller) -> None:
    said: list[str] = []
    assert up(said, replicas=2, idle=20) == endpoint.url
    made = fake.endpoints["mine"]
    assert (made["model"]["repository"], made["model"]["revision"]) == (BASE, SHA)
    assert made["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 2, "scaleToZeroTimeout": 20}
    assert (made["provider"], made["compute"]["instanceType"]) == (
        {"vendor": "aws", "region": "us-east-1"},
        "nvidia-l4",
    )
    assert made["type"] == "authenticated"
    assert list(made["model"]["image"]) == ["tgi"]
    assert TOKEN not in str(made)
    assert "$1.60 an hour" in said[0]
    assert any("initializing" in line for line in said)


def test_vllm_serves_in_place_of_tgi(fake: FakeService) -> None:
    up([], image="vllm", idle=None)
    assert list(fake.endpoints["mine"]["model"]["image"]) == ["vLLM"]
    assert fake.endpoints["mine"]["compute"]["scaling"]["minReplica"] == 1


def test_a_paused_endpoint_is_resumed_and_not_made_again(fake: FakeService) -> None:
    said: list[str] = []
    service = Dedicated(TOKEN, "org")
    up(said)
    hiring.end(service, "mine", "pause", said.append)
    assert fake.state("mine") == "paused"
    assert "it cost about $0.01" in said[-1]
    assert next(hiring.survey(service)).state == "paused"
    up(said)
    assert fake.state("mine") == "running"
    hiring.end(service, "mine", "down", said.append)
    hiring.end(service, "mine", "down", said.append)
    assert not fake.endpoints
    assert fake.calls["POST endpoint"] == 1


def test_what_a_person_started_is_listed_with_its_cost(fake: FakeService) -> None:
    up([])
    (seen,) = hiring.survey(Dedicated(TOKEN, "org"))
    assert (seen.state, seen.per_hour, seen.cost, seen.minded_by) == ("running", "0.80", "0.01", "you")
    assert seen.instance == "aws-us-east-1-nvidia-l4-x1"
    assert not seen.warning


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instance": "nvidia-l5-x1"}, "there is no instance nvidia-l5-x1; there are .*nvidia-l4-x1"),
        ({"instance": "nvidia-old-x1"}, "is deprecated; take another"),
        ({"instance": "nvidia-new-x1"}, "names no price .* give --price"),
        ({"replicas": 5}, "needs 5 accelerators, and the quota of org has 4 left"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(
    fake: FakeService, changes: dict[str, object], message: str
) -> None:
    said: list[str] = []
    with pytest.raises(EndpointDown, match=message) as error:
        up(said, **changes)
    assert "\n" not in str(error.value)
    assert not fake.endpoints
    assert not said
    assert not list(leases.known("org"))


def test_a_name_that_cannot_be_had_is_refused_before_anything_is_noted(fake: FakeService) -> None:
    with pytest.raises(EndpointDown, match=r"the name '\.\./Other' cannot be had"):
        Dedicated(TOKEN, "org").room(wanted(), "../Other")


def test_a_failed_endpoint_says_why_without_control_signs(fake: FakeService) -> None:
    fake.becomes = "failed"
    service = Dedicated(TOKEN, "org")
    made = service.create(wanted(), "mine")
    fake.endpoints["mine"]["status"]["message"] = "out of memory \x1b[31m\nretry"
    with pytest.raises(EndpointDown, match=r"mine is failed \(out of memory \[31m retry\)"):
        service.wait(made, lambda _: None, 5)


def test_an_endpoint_that_does_not_come_up_in_time_is_named(fake: FakeService) -> None:
    fake.becomes = "initializing"
    with pytest.raises(EndpointDown, match=r"mine is still \w+ after 0 minutes"):
        hiring.bring_up(Dedicated(TOKEN, "org"), wanted(), "mine", None, lambda _: None, 0.1)
    assert leases.read("org", "mine") is not None, "it may cost, so it is on record"


def test_another_model_under_the_same_name_is_refused(fake: FakeService) -> None:
    up([])
    with pytest.raises(EndpointDown, match="take it down first, or give another --name"):
        up([], sha="b" * 40)


def test_calls_are_made_again_when_the_service_fails_for_a_moment_but_creation_is_not(
    fake: FakeService,
) -> None:
    service = Dedicated(TOKEN, "org")
    up([])
    fake.faults = [503, 500]
    service.pause("mine")
    assert fake.state("mine") == "paused"
    asked = fake.calls["POST endpoint"]
    hired = service.hardware("nvidia-l4-x1")
    assert hired.price_per_hour == 0.8
    service.hardware = lambda _: hired  # type: ignore[method-assign]
    fake.faults = [503]
    with pytest.raises(EndpointDown, match="creating two: "):
        service.create(wanted(), "two")
    assert fake.calls["POST endpoint"] == asked + 1


def test_a_wrong_token_is_one_line_without_the_token(fake: FakeService) -> None:
    with pytest.raises(EndpointDown) as error:
        Dedicated("hf_wrong", "org").hardware("nvidia-l4-x1")
    assert "401" in str(error.value)
    assert "hf_wrong" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_token_goes_to_the_services_hosts_alone() -> None:
    service = Dedicated(TOKEN, "org")
    assert service.token_for("https://abc.us-east-1.aws.endpoints.huggingface.cloud") == TOKEN
    assert service.token_for("http://abc.us-east-1.aws.endpoints.huggingface.cloud") is None
    assert service.token_for("https://endpoints.huggingface.cloud.example.org") is None


def test_a_lease_is_held_by_one_process_and_outlives_it() -> None:
    lease = Lease(name="mine", namespace="org", per_hour=6.0, at_end="pause", by="org/run")
    held = leases.hold(lease)
    assert leases.minded(lease)
    with pytest.raises(BackforthError, match=r"another run .* uses the endpoint mine"):
        leases.hold(lease)
    held.left()
    assert not leases.minded(lease)
    assert list(leases.known("org")) == [lease]
    assert lease.cost == pytest.approx(0.1), "a begun minute is paid"


def test_what_a_killed_run_left_is_warned_of_even_when_the_service_is_silent(fake: FakeService) -> None:
    up([])
    leases.hold(Lease(name="mine", namespace="org", per_hour=6.0, at_end="pause", by="org/run")).left()
    service = Dedicated(TOKEN, "org")
    (seen,) = hiring.survey(service)
    assert "left running by a run of org/run" in seen.warning
    assert "backforth endpoint pause mine" in seen.warning
    fake.faults = [503] * 9
    with pytest.raises(EndpointDown, match="the records say that these may run: mine"):
        list(hiring.survey(service))


def test_names_tell_the_model_and_fit_the_service() -> None:
    name = wanted(repo="meta-llama/Llama-2-70b-chat-hf_And.More-of-it").name
    assert name.startswith("bf-llama-2-70b-chat-hf")
    assert len(name) <= 32
    assert name != wanted(repo="meta-llama/Llama-2-70b-chat-hf_And.More-of-it", replicas=2).name
