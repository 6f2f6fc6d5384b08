"""ResNets that take torchvision's weights."""

import pytest
import torch

from constellation_pipelines.inference.architectures import build, build_empty
from constellation_pipelines.inference.folding import fold_batch_norms
from constellation_pipelines.inference.resnet import DEPTHS

PARAMETERS = {  # as torchvision documents them, with 1,000 classes and three bands
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.mark.parametrize("name", DEPTHS)
def test_it_has_torchvisions_number_of_parameters(name: str) -> None:
    network = build_empty(name, {"bands": 3, "classes": 1000})
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_weights_give_torchvisions_scores(name: str) -> None:
    from constellation_pipelines.inference.timm_networks import import_torchvision

    try:
        import_torchvision()
    except ImportError:
        pytest.skip("torchvision is not installed")
    from torchvision import models

    torch.manual_seed(1)
    theirs = lively(getattr(models, name)(num_classes=7))
    ours = build(name, {"bands": 3, "classes": 7}).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    chips = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(ours(chips), theirs(chips), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_folding_takes_every_batch_norm_and_changes_no_score(name: str) -> None:
    torch.manual_seed(2)
    network = lively(build(name, {"bands": 4, "classes": 5}))
    folded = fold_batch_norms(network)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    chips = torch.randn(2, 4, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network(chips), folded(chips), rtol=1e-3, atol=1e-3)


def test_without_classes_it_gives_features() -> None:
    network = build("resnet50", {"bands": 2, "classes": 0}).eval()
    assert network(torch.zeros(1, 2, 32, 32)).shape == (1, 2048)


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """The network with norms that do something: fresh ones have mean 0 and variance 1."""
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean = torch.randn(part.num_features) * 0.1
            part.running_var = torch.rand(part.num_features) + 0.5
            if part.affine:
                with torch.no_grad():
                    part.weight.uniform_(0.5, 1.5)
                    part.bias.normal_(0, 0.1)
    return network.eval()
