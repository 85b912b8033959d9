import numpy as np
import pytest
import torch
from torch import nn

from factory.networks.discriminator import REAL, REFINED, Discriminator, patch_map_size
from factory.networks.refiner import Refiner
from factory.networks.scaling import to_network, to_pixels
from schemas.discriminator import HAND_LAYERS, DiscriminatorConfig, LayerConfig
from schemas.refiner import RefinerConfig


@pytest.fixture(autouse=True)
def _same_images_every_time():
    torch.manual_seed(0)


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_eye_networks_are_the_papers():
    refiner, discriminator = Refiner(), Discriminator()
    assert num_parameters(refiner) == 296_129
    assert num_parameters(discriminator) == 75_906
    images = torch.zeros(2, 1, 35, 55)
    assert refiner(images).shape == (2, 1, 35, 55)
    assert discriminator(images).shape == (2, 2, 9, 14)
    assert patch_map_size(discriminator.config, 35, 55) == (9, 14)


@pytest.mark.slow
def test_hand_networks_are_the_papers():
    config = DiscriminatorConfig(layers=HAND_LAYERS)
    discriminator = Discriminator(config)
    assert num_parameters(discriminator) == 178_050
    assert discriminator(torch.zeros(1, 1, 224, 224)).shape == (1, 2, 7, 7)
    assert patch_map_size(config, 224, 224) == (7, 7)
    assert config.stride == 32
    first_only = Refiner(RefinerConfig(blocks=10, first_kernel=7))
    everywhere = Refiner(RefinerConfig(blocks=10, kernel=7))
    assert num_parameters(first_only) == 741_825
    assert num_parameters(everywhere) == 4_018_625
    assert first_only(torch.zeros(1, 1, 224, 224)).shape == (1, 1, 224, 224)


def test_layers_have_names():
    by_name = {
        name: DiscriminatorConfig.model_validate({"layers": name}) for name in ("eye", "hand")
    }
    assert by_name["eye"] == DiscriminatorConfig()
    assert by_name["hand"] == DiscriminatorConfig(layers=HAND_LAYERS)
    with pytest.raises(ValueError, match="one of eye, hand"):
        DiscriminatorConfig.model_validate({"layers": "foot"})


@pytest.mark.parametrize("layers", [DiscriminatorConfig().layers, HAND_LAYERS])
@pytest.mark.parametrize("size", [(35, 55), (36, 60), (64, 31)])
def test_patch_map_size_is_the_networks(layers, size):
    config = DiscriminatorConfig(layers=layers)
    assert Discriminator(config)(torch.zeros(1, 1, *size)).shape[2:] == patch_map_size(
        config, *size
    )


def test_refiner_sees_and_touches_only_a_neighbourhood():
    """No stride, no pooling, nothing global: 19 x 19 pixels decide one."""
    refiner = Refiner()
    images = torch.zeros(1, 1, 35, 55)
    changed = images.clone()
    changed[0, 0, 17, 27] = 1.0
    rows, columns = torch.nonzero((refiner(changed) - refiner(images))[0, 0], as_tuple=True)
    assert rows.min() >= 17 - 9 and rows.max() <= 17 + 9
    assert columns.min() >= 27 - 9 and columns.max() <= 27 + 9


@pytest.mark.parametrize("init", ["random", "identity"])
def test_refiner_stays_in_range_and_uses_it(init):
    refiner = Refiner(RefinerConfig(maps=16, blocks=2))
    if init == "identity":
        refiner.initialise_as_identity()
    refined = refiner(torch.rand(4, 1, 35, 55) * 2 - 1)
    assert refined.abs().max() <= 1
    assert refined.std() > 0.05


def _is_linear(network: nn.Module) -> bool:
    x, y = torch.rand(2, 1, 1, 35, 55)
    zero = network(torch.zeros_like(x))
    return bool(
        torch.allclose(network(x + y) - zero, network(x) + network(y) - 2 * zero, atol=1e-5)
    )


@pytest.mark.parametrize("index", range(5))
def test_no_activation_is_missing(index):
    """Each convolution but the last is followed by a ReLU: where it is cut off, all is zero."""
    discriminator = Discriminator()
    convolutions = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    last = convolutions[-1]
    images = torch.rand(1, 1, 35, 55) * 2 - 1
    if index < 4:
        with torch.no_grad():
            convolutions[index].weight.zero_()
            convolutions[index].bias.fill_(-1.0)
            for later in convolutions[index + 1 :]:
                later.bias.zero_()
        assert not discriminator(images).any()
    else:  # the logits themselves are not rectified
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor([-3.0, 2.0]))
        logits = discriminator(images)
        assert torch.all(logits[:, REAL] == -3.0) and torch.all(logits[:, REFINED] == 2.0)


def test_refiner_has_its_activations():
    refiner = Refiner(RefinerConfig(maps=4, blocks=1))
    assert not _is_linear(refiner)
    block = refiner.blocks[0]
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv1.bias.fill_(-1.0)  # cut off by the ReLU between the convolutions
        block.conv2.bias.zero_()
        features = torch.rand(1, 4, 5, 5)
        assert torch.equal(block(features), features)
        block.conv2.bias.fill_(-2.0)  # cut off by the ReLU after the sum
        assert not block(features).any()

    bare = Refiner(RefinerConfig(maps=4, blocks=0))
    with torch.no_grad():
        bare.first.weight.zero_()
        bare.first.bias.fill_(-1.0)  # cut off by the ReLU after the first convolution
        bare.last.bias.fill_(0.5)
    assert torch.allclose(bare(torch.rand(1, 1, 9, 9)), torch.tensor(0.5).tanh())


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, other = Refiner(seed=0), Refiner(seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    again = Refiner(seed=0)
    assert torch.equal(first.blocks[3].conv2.weight, again.blocks[3].conv2.weight)
    assert not torch.equal(first.blocks[3].conv2.weight, other.blocks[3].conv2.weight)


@pytest.mark.parametrize("channels", [1, 3])
def test_identity_start_is_a_tanh_of_the_image(channels):
    refiner = Refiner(RefinerConfig(maps=16, blocks=2, channels=channels))
    refiner.initialise_as_identity()
    images = torch.rand(2, channels, 12, 14) * 2 - 1
    assert torch.allclose(refiner(images), torch.tanh(1.2 * images), atol=1e-6)
    with pytest.raises(ValueError, match="cannot carry"):
        Refiner(RefinerConfig(maps=5, blocks=0, channels=3)).initialise_as_identity()


def test_pixels_go_in_and_come_back():
    """One normalisation for both domains: v / 127.5 - 1, undone exactly, through float16 too."""
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    images = to_network(pixels)
    assert images.shape == (1, 1, 16, 16) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert torch.allclose(images.flatten(), torch.arange(256) / 127.5 - 1)
    assert np.array_equal(to_pixels(images)[:, 0], pixels)
    assert np.array_equal(to_pixels(images.half())[:, 0], pixels)
    depth = np.array([[[0, 150, 300]]], np.uint16)
    assert np.array_equal(to_network(depth, 300.0).flatten(), [-1, 0, 1])
    assert np.array_equal(to_pixels(to_network(depth, 300.0), 300.0)[:, 0], depth)
    with pytest.raises(ValueError, match="unsigned"):
        to_network(np.zeros((1, 4, 4), np.float32))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="odd"):
        RefinerConfig(kernel=4)
    with pytest.raises(ValueError, match="odd"):
        LayerConfig(kernel=2, maps=3)
    with pytest.raises(ValueError, match="kind = maxpool with maps"):
        LayerConfig(kind="maxpool", kernel=3, maps=3)
    with pytest.raises(ValueError, match="logits"):
        DiscriminatorConfig(layers=(LayerConfig(kernel=3, maps=3),))


def test_reflecting_the_border_leaves_no_frame_on_an_even_picture():
    grey = torch.full((1, 1, 35, 55), 0.3)
    with torch.no_grad():
        framed = Refiner(RefinerConfig(maps=8, blocks=2))(grey)
        even = Refiner(RefinerConfig(maps=8, blocks=2, padding="reflect"))(grey)
    assert even.std() < 1e-6 < framed.std()


def test_a_global_discriminator_judges_the_image_as_a_whole():
    """Fully connected: one pair of logits, to which every part of the map has its own weights."""
    discriminator = Discriminator(DiscriminatorConfig(scope="global"), image_size=(35, 55))
    assert discriminator(torch.zeros(3, 1, 35, 55)).shape == (3, 2, 1, 1)
    *_, last = (layer for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d))
    assert last.weight.shape == (2, 32, 9, 14)
    with pytest.raises(ValueError, match="size of its images"):
        Discriminator(DiscriminatorConfig(scope="global"))


@pytest.mark.slow
def test_spectral_norm_bounds_every_layer_and_draws_from_its_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    config = DiscriminatorConfig(spectral_norm=True)
    one, two = (Discriminator(config, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    images = torch.randn(2, 1, 35, 55)
    assert torch.equal(one(images), two(images))
    for _ in range(30):
        one(images)
    convs = [layer for layer in one.layers if isinstance(layer, torch.nn.Conv2d)]
    norms = [torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() for conv in convs]
    assert len(norms) == 5 and all(abs(norm - 1) < 0.05 for norm in norms)
