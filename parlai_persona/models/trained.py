"""What of a pretrained model is trained, and checkpoints that hold nothing else of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from parlai.core.opt import Opt
from parlai.core.torch_agent import TorchAgent

from parlai_persona.errors import UserError
from parlai_persona.flags import flag
from parlai_persona.models.checksums import fingerprint
from parlai_persona.models.network import give_back_memory, unwrapped
from parlai_persona.models.pretrained import Pretrained
from parlai_persona.models.saved import NotLoaded, expected_parts, saved_part

ALL_LINEAR = 'all-linear'
TIDY = 10  # training updates on a CPU; after each it would take a fifth of the time


@dataclass(frozen=True)
class Learning:
    """The options of an agent that trains a pretrained model, or a part of it."""

    train: str = flag(
        'lora',
        "what is trained: low-rank adapters (LoRA), or all weights; 'nothing' leaves the base as it is",
        choices=('lora', 'all', 'nothing'),
    )
    rank: int = flag(16, 'LoRA: rank of the adapters', least=1)
    scale: float = flag(2.0, 'LoRA: alpha / rank, which multiplies what the adapters add', least=0)
    targets: tuple[str, ...] = flag((ALL_LINEAR,), 'LoRA: names of the layers to adapt, such as q_proj,v_proj')
    dropout: float = flag(0.0, 'LoRA: dropout on the input of the adapters', least=0, most=1)
    checkpointing: bool = flag(False, 'compute activations again in the backward pass: less memory, a third slower')


def prepare(model: Any, learning: Learning, prefix: str) -> None:
    """Leave those weights of a model to be trained that the options name; add adapters to it."""
    keep_activations(model, not learning.checkpointing)
    if learning.train == 'all':
        return
    model.requires_grad_(False)
    if learning.train == 'nothing':
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError(f"--{prefix}-train lora needs PEFT: pip install 'parlai-persona[lm]'") from None
    alpha = learning.scale * learning.rank
    if alpha != int(alpha):
        raise UserError(
            f'--{prefix}-scale {learning.scale:g} times --{prefix}-rank {learning.rank} is {alpha:g}; PEFT expects a '
            'whole number'
        )
    targets = ALL_LINEAR if learning.targets == (ALL_LINEAR,) else list(learning.targets)
    config = LoraConfig(r=learning.rank, lora_alpha=int(alpha), lora_dropout=learning.dropout, target_modules=targets)
    try:
        inject_adapter_in_model(config, model)
    except ValueError as error:
        raise UserError(f'--{prefix}-targets {",".join(learning.targets)}: {error}') from None


def keep_activations(model: Any, keep: bool) -> None:
    """Keep the activations of each layer for the backward pass, or let it compute them again: less memory, slower."""
    again = any(getattr(module, 'gradient_checkpointing', False) for module in model.modules())
    if again != keep:
        return
    kind = 'activation' if hasattr(model, 'activation_checkpointing_enable') else 'gradient'  # older transformers
    if keep:
        getattr(model, f'{kind}_checkpointing_disable')()
    else:
        getattr(model, f'{kind}_checkpointing_enable')({'use_reentrant': False})


def recompute(model: Any) -> None:
    """Let the layers compute activations again in the backward pass, if they are to do so, although dropout is off."""
    for module in model.modules():
        module.training = module.training or getattr(module, 'gradient_checkpointing', False)


def merge_adapters(model: Any) -> None:
    """Add adapters to the weights that they adapt: a third of the matrix products. Nothing can be learned then.

    What `state_dict` says about the adapters stays the same.
    """
    for layer in adapted(model):
        if not layer.merged:
            layer.merge()


@contextmanager
def merged_adapters(model: Any) -> Iterator[None]:
    """Merge adapters while nothing is learned; give the weights back as they were, bit by bit."""
    layers = adapted(model)
    weights = [layer.get_base_layer().weight.data for layer in layers]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            (name,) = layer.active_adapters
            layer.get_base_layer().weight.data = weight + layer.get_delta_weight(name)
            layer.merged_adapters.append(name)
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.get_base_layer().weight.data = weight
            layer.merged_adapters.clear()


def adapted(model: Any) -> list[Any]:
    """Return the layers that have adapters."""
    return [module for module in model.modules() if hasattr(module, 'merge') and hasattr(module, 'lora_A')]


class SavesTrained(TorchAgent):
    """An agent on a pretrained model: its checkpoints hold what was trained, and the base's name and checksum.

    `build_model` has to call `stand_on`.
    """

    BASE_FLAG: str  # which says what the base is
    HEAD = 'head.'  # how the names of weights start that are not the base's: checkpoints hold all of them
    MERGES = True  # whether adapters become part of the weights if there is nothing to learn
    knows_head = False  # whether a checkpoint had the head
    base: dict[str, str]

    def __init__(self, opt: Opt, shared=None):
        super().__init__(opt, shared)
        if self.MERGES and not shared and not self._should_initialize_optimizer():
            merge_adapters(unwrapped(self.model))

    def stand_on(self, found: Pretrained) -> None:
        """Remember which base it is, before anything is added to it."""
        self.base = {'source': found.source, 'checksum': fingerprint(found.model.state_dict())}

    def init_optim(self, params, *args, **kwargs):
        params = [p for p in params if p.requires_grad]
        if not params:
            flags = self.BASE_FLAG.rpartition('-')[0]
            raise UserError(
                f'{flags}-train nothing: there is nothing to learn. Evaluate it, or give {flags}-train lora'
            )
        return super().init_optim(params, *args, **kwargs)

    def update_params(self):
        super().update_params()
        if not self.use_cuda and self._number_training_updates % TIDY == 0:
            give_back_memory()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds: of the model, what was trained."""
        states = super().state_dict()
        states.pop('words', None)
        trained = self.trained()
        states['model'] = {name: p for name, p in states['model'].items() if name in trained}
        return {**states, 'base': self.base}

    def trained(self) -> set[str]:
        """Return the names of what a checkpoint holds: of the base, what is trained; of the head, all."""
        net = unwrapped(self.model)
        learned = {name for name, p in net.named_parameters() if p.requires_grad}
        return learned | {name for name in net.state_dict() if name.startswith(self.HEAD)}

    def load(self, path: str) -> dict[str, Any]:
        base = saved_part(path, 'base')
        if base is not None:  # first: weights of another size cannot be loaded
            self.check_base(path, base)
        with expected_parts(path):
            states = super().load(path)
        self.check_base(path, states.get('base'))
        return states

    def check_base(self, path: str, base: Any) -> None:
        """Refuse a checkpoint that was trained on another base than this agent's."""
        base = base if isinstance(base, dict) else {}
        if base.get('checksum') != self.base['checksum']:
            raise NotLoaded(
                f'{path} was trained on other weights than those of {self.base["source"]}: it needs '
                f'{base.get("source", "another kind of model")} ({self.BASE_FLAG})'
            )

    def load_state_dict(self, state_dict) -> None:
        """Load what was trained; a head that the checkpoint lacks stays as it is."""
        missing, unknown = self.trained() - set(state_dict), set(state_dict) - self.trained()
        missing = {name for name in missing if not name.startswith(self.HEAD)}
        if missing or unknown:
            flags = self.BASE_FLAG.rpartition('-')[0]
            raise NotLoaded(
                f'the checkpoint has {len(unknown)} weights that this model does not train, and lacks {len(missing)} '
                f'that it does ({", ".join(sorted(missing | unknown)[:2])}, …): give the {flags}-… options that it '
                'was trained with'
            )
        self.knows_head = any(name.startswith(self.HEAD) for name in state_dict)
        unwrapped(self.model).load_state_dict(state_dict, strict=False)
