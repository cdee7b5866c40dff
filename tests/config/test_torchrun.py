"""torchrun's values that have a form of their own."""

import pytest
from pydantic import ValidationError

from launcher.config.torchrun import TorchrunConfig


@pytest.mark.parametrize(
    ("value", "ranks"),
    [("0", (0,)), ("0,2", (0, 2)), (" 1 , 3,", (1, 3)), ("", ()), (4, (4,)), ([0, 1], (0, 1))],
)
def test_ranks_are_a_list_a_number_or_a_text(value: object, ranks: tuple[int, ...]) -> None:
    assert TorchrunConfig.model_validate({"local_ranks_filter": value}).local_ranks_filter == ranks


@pytest.mark.parametrize("value", ["0", "1", "2", "3", "0:1", "0:3,1:0"])
def test_streams_are_torchs_numbers_for_all_ranks_or_for_each(value: str) -> None:
    assert TorchrunConfig(redirects=value, tee=value).tee == value


def test_streams_may_be_a_number_in_toml() -> None:
    assert TorchrunConfig.model_validate({"tee": 0}).tee == "0"


@pytest.mark.parametrize("value", ["4", "", "x", "0:4", "0:1,", "0=1", "10:1", "3 3"])
def test_what_torchrun_would_not_understand_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        TorchrunConfig(redirects=value)


@pytest.mark.parametrize("value", ["a/b", "", "a b", "ü"])
def test_a_rendezvous_id_is_a_directorys_name(value: str) -> None:
    with pytest.raises(ValidationError):
        TorchrunConfig(rdzv_id=value)


@pytest.mark.parametrize("value", ["gpu01", "10.0.0.1", "fd00::1", "[fd00::1]", "gpu_01.lab"])
def test_the_address_of_node_0_is_a_host(value: str) -> None:
    assert TorchrunConfig(master_addr=value).master_addr == value


@pytest.mark.parametrize("value", ["", " ", "a b", "http://gpu01", "gpu01/x"])
def test_what_is_no_host_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="name or address of a host"):
        TorchrunConfig(master_addr=value)


def test_an_address_with_a_port_is_answered_with_both_options() -> None:
    with pytest.raises(ValidationError, match="has a port: write --master-addr gpu01 --master-port 29500"):
        TorchrunConfig(master_addr="gpu01:29500")


@pytest.mark.parametrize("value", ["x", "a=", "=b", "a=1,,b=2", "a=1 ,b"])
def test_settings_of_the_rendezvous_are_pairs(value: str) -> None:
    for pairs in ("a=1,b=x=y, c = 2", ""):
        assert TorchrunConfig(rdzv_conf=pairs).rdzv_conf == pairs
    with pytest.raises(ValidationError, match="KEY=VALUE"):
        TorchrunConfig(rdzv_conf=value)
