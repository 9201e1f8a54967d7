"""The receiver of P2Bot in several processes: they learn what one process learns with their batches together."""

import os
from pathlib import Path

import pytest
import tiny_bert
import torch
from parlai.utils.distributed import find_free_port
from test_receiver import OTHER, PERSONA, SAID, agent, loaded

from parlai_persona.agents.p2bot import perception

pytestmark = pytest.mark.slow
VECTORS = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))


def moments_of_a_share(number: int, port: int, folder: Path) -> None:
    """Save the moments that one of two processes finds, and the gradient of its vectors."""
    os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
    torch.distributed.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', world_size=2, rank=number)
    share = VECTORS[[slice(3), slice(3, None)][number]].clone().requires_grad_()
    mean, covariance = perception.moments(share)
    ((number + 1) * (mean.sum() + covariance.square().sum())).backward()
    torch.save([mean.detach(), covariance.detach(), share.grad], folder / str(number))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_moments_are_those_of_all_processes(tmp_path):
    """Of three vectors and two; the gradient is that of the sum of both losses."""
    torch.multiprocessing.spawn(moments_of_a_share, (find_free_port(), tmp_path), nprocs=2)
    vectors = VECTORS.clone().requires_grad_()
    mean, covariance = perception.moments(vectors)
    (3 * (mean.sum() + covariance.square().sum())).backward()
    saved = [torch.load(tmp_path / str(number)) for number in range(2)]
    for found in saved:
        torch.testing.assert_close(found[:2], [mean.detach(), covariance.detach()])
    torch.testing.assert_close(torch.cat([found[2] for found in saved]), vectors.grad)


@pytest.mark.parametrize(
    'kind',
    [
        {'candidates': 'inline', 'perception_train_distractors': 2},
        {'candidates': 'batch', 'p2bot_receiver_loss': 'ce', 'p2bot_receiver_shared': True},
    ],
)
def test_two_processes_learn_what_one_learns(kind, parlai, tmp_path):
    """`multiprocessing_train` of two takes the steps of one with twice the speakers; both models judge alike."""
    encoder = still(tmp_path / 'encoder')
    common = {
        'model': 'persona:p2bot/receiver',
        'task': 'persona:perception',
        'perception_of': 'persona:sample',
        'persona_sample_dialogues': 8,
        'p2bot_receiver_encoder': encoder,
        **kind,
        'optimizer': 'sgd',
        'learningrate': 0.05,
        'lr_scheduler': 'none',
        'max_train_steps': 4,
        'validation_max_exs': 8,
        'short_final_eval': True,
        'seed': 3,
    }
    arms = {
        'one': ('train_model', {'batchsize': 4}),
        'two': ('multiprocessing_train', {'batchsize': 2, 'distributed_world_size': 2}),
    }
    for name, (command, own) in arms.items():
        options = {**common, **own, 'model_file': str(tmp_path / name)}
        flags = ((f'--{key.replace("_", "-")}', str(value)) for key, value in options.items())
        done = parlai(command, *(word for flag in flags for word in flag), '--no-cuda')
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    one, two = (loaded(str(tmp_path / name)) for name in arms)
    start = agent(p2bot_receiver_encoder=encoder).relevance(SAID, PERSONA)
    assert (one.relevance(SAID, PERSONA) - start).abs().max() > 1e-2
    for weight, other in zip(one.net.parameters(), two.net.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-5)
    assert two.cumulative(SAID, [PERSONA, OTHER]) == pytest.approx(one.cumulative(SAID, [PERSONA, OTHER]), abs=1e-4)
    ranks = [reported('mrr', (tmp_path / f'{name}.valid').read_text()) for name in arms]
    assert 0 < ranks[0] == ranks[1]


def reported(metric: str, table: str) -> float:
    """Return a metric of a report, which ParlAI folds to the width of the terminal."""
    lines = [line.split() for line in table.splitlines()]
    names, values = next((names, values) for names, values in zip(lines, lines[1:], strict=False) if metric in names)
    return float(values[names.index(metric)])


def still(folder: Path) -> str:
    """Write the tiny encoder without dropout, which every process draws on its own; return its folder."""
    import transformers as hf

    hf.AutoTokenizer.from_pretrained(tiny_bert.folder()).save_pretrained(folder)
    encoder = hf.AutoModel.from_pretrained(tiny_bert.folder())
    encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.0
    encoder.save_pretrained(folder)
    return str(folder)
