"""Against the real libraries, where they are installed; they are no dependencies of ours."""

import pytest
import torch

from pushforward import interop
from pushforward.models import Diffusion
from pushforward.nets import MLP
from pushforward.solvers import Adaptive, Midpoint

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


def ours():
    torch.manual_seed(0)
    model = Diffusion(MLP((2,), hidden=16, layers=1))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_flow_matchings_solver_follows_our_model():
    solver = pytest.importorskip("flow_matching.solver", reason="flow_matching is not installed")
    model, x = ours(), torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    theirs = solver.ODESolver(velocity_model=interop.to_convention(model, "flow_matching"))
    same = Midpoint(steps=50)
    decoded = theirs.sample(x_init=x, step_size=0.02, method="midpoint")
    torch.testing.assert_close(decoded, model.decode(x, solver=same), rtol=1e-5, atol=1e-5)
    _, log_prob = theirs.compute_likelihood(
        x_1=x, log_p0=model.base.log_prob, step_size=0.02, method="midpoint", exact_divergence=True
    )
    torch.testing.assert_close(log_prob, model.log_prob(x, solver=same), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("as_mlp", [False, True])
def test_torchcfms_target_is_our_velocity(as_mlp):
    """An affine network trained by torchcfm on one pair is that pair's velocity, whichever way it is called."""
    cfm = pytest.importorskip("torchcfm.conditional_flow_matching", reason="torchcfm is not installed")
    noise, data = torch.randn(2, 512, 2, generator=torch.Generator().manual_seed(1))
    t, x_t, target = cfm.ConditionalFlowMatcher(sigma=0.0).sample_location_and_conditional_flow(noise, data)
    name, net = ("torchcfm_mlp", lambda joined: target) if as_mlp else ("torchcfm", lambda t, x: target)
    model = interop.adopt(net, name, (2,))
    torch.testing.assert_close(model.denoiser(x_t, 1 - t), data, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.noise_estimate(x_t, 1 - t), noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [
    {}, {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"}, {"beta_schedule": "sigmoid"}, {"rescale_betas_zero_snr": True},
    {"trained_betas": [0.02] * 50, "num_train_timesteps": 50},
])  # fmt: skip
def test_diffusers_tables_are_ours(config):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    scheduler = diffusers.DDPMScheduler(**config)
    path = interop.from_scheduler(scheduler.config)["path"]
    table = torch.tensor(path.alphas_cumprod)
    torch.testing.assert_close(table, scheduler.alphas_cumprod, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_diffusers_network_is_denoised_as_ddim_does(prediction):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(
        sample_size=8, layers_per_block=1, block_out_channels=(16, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    scheduler = diffusers.DDIMScheduler(clip_sample=False, prediction_type=prediction)
    scheduler.set_timesteps(1000)
    model = interop.adopt(net, "ddpm", (3, 8, 8), **interop.from_scheduler(scheduler.config))
    x, step = torch.randn(2, 3, 8, 8), torch.tensor([700, 300])
    with torch.no_grad():
        out = net(x, step).sample
        expected = [scheduler.step(out[i], int(step[i]), x[i]).pred_original_sample for i in range(2)]
        torch.testing.assert_close(model.denoiser(x, step / 999), torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_diffusers_samplers_follow_our_model():
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    model, x = ours(), torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    expected, y, net = model.decode(x, solver=Adaptive()).detach(), x, interop.to_convention(model, "flux")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(200)
    with torch.no_grad():
        for t in scheduler.timesteps:
            y = scheduler.step(net(hidden_states=y, timestep=t / 1000).sample, t, y).prev_sample
    torch.testing.assert_close(y, expected, rtol=2e-3, atol=2e-3)
