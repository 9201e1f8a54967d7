"""Model files of a tiny transmitter and a tiny receiver, which have learned nothing."""

from pathlib import Path

import tiny_bert
import tiny_lm
import torch
from parlai.core.agents import create_agent
from parlai.scripts.train_model import TrainModel

import parlai_persona  # noqa: F401


def transmitter(path: Path, **options) -> str:
    options = {'lm_model': tiny_lm.folder(), 'lm_rank': 2, **options}
    return written(path, model='persona:p2bot/transmitter', task='persona:sample', **options)


def receiver(path: Path) -> str:
    return written(
        path,
        model='persona:p2bot/receiver',
        task='persona:perception',
        perception_of='persona:sample',
        p2bot_receiver_encoder=tiny_bert.folder(),
        p2bot_receiver_cosine=9,
    )


def written(path: Path, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    opt = TrainModel.setup_args().parse_kwargs(model_file=str(path), loglevel='error', **options)
    create_agent(opt).save(str(path))
    return str(path)
