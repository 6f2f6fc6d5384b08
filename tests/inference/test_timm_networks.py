"""Architectures of timm, where it is installed."""

import subprocess
import sys

import pytest
import torch

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.inference.architectures import build
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.timm_networks import import_timm
from tests.inference.test_resnet import lively


@pytest.fixture(scope="module", autouse=True)
def timm() -> None:
    try:
        import_timm()
    except ModelRefused:
        pytest.skip("timm is not installed")


@pytest.mark.parametrize(
    "name", ["timm:resnet10t", "timm:efficientnet_b0", "timm:mobilenetv3_small_050"]
)
def test_folding_changes_no_score_of_theirs(name: str) -> None:
    torch.manual_seed(3)
    network = lively(build(name, {"bands": 4, "classes": 6}))
    folded = fold_batch_norms(network)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    chips = torch.randn(2, 4, 64, 64)
    with torch.inference_mode():
        assert network(chips).shape == (2, 6)
        assert torch.allclose(network(chips), folded(chips), rtol=1e-3, atol=1e-3)


def test_a_network_of_one_size_is_made_for_the_chips() -> None:
    options = {"bands": 5, "classes": 0, "img_px": 64}
    network = build("timm:vit_tiny_patch16_224", options).eval()
    assert network(torch.zeros(2, 5, 64, 64)).shape == (2, 192)


@pytest.mark.parametrize(
    "name", ["timm:", "timm:hf-hub:someone/resnet18", "timm:local-dir:/tmp", "timm:nothing_18"]
)
def test_only_names_of_timm_are_taken(name: str) -> None:
    with pytest.raises(ModelRefused, match="knows no"):
        build(name, {"bands": 3, "classes": 2})


@pytest.mark.parametrize("change", [{"bands": 0}, {"pretrained": 1}, {"img_px": 10**6}])
def test_a_bad_option_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ModelRefused, match=next(iter(change))):
        build("timm:resnet10t", {"bands": 3, "classes": 2, **change})


def test_timm_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, constellation_pipelines.inference.loading; print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
