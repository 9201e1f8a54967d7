"""Options that ParlAI accepts and then fails with: sizes of batches, and presets of a training in other commands."""

import functools
from typing import Any

from parlai_persona.compat.hooks import fixes, replace_everywhere
from parlai_persona.errors import UserError, nearest

LEAST = {'batchsize': 1, 'eval_batchsize': 1, 'num_workers': 0}
OF_A_TRAINING = ('batchsize', 'dynamic_batching')  # options that mean something else in a chat or a display
ROUNDED = 8  # ParlAI counts the tokens of a text up to a multiple of this


@fixes('parlai.core.params')
def sizes_of_batches(module: Any) -> bool:
    """A batch size of 0 or less is taken as 1, and dynamic batches without limits of the texts end in a traceback.

    ParlAI 1.7.2 does this on every stack. Both are now errors of the command line, before anything is loaded.
    """
    parse = module.ParlaiParser.parse_args

    @functools.wraps(parse)
    def parse_and_check(self, *args, **kwargs):
        opt = parse(self, *args, **kwargs)
        for name, least in LEAST.items():
            if opt.get(name) is not None and opt[name] < least:
                raise UserError(f'--{name.replace("_", "-")} is {opt[name]}; expected {least} or more')
        if (opt.get('dynamic_batching') and opt['batchsize'] > 1) or opt.get('num_workers'):
            check_dynamic_batches(opt)
        return opt

    module.ParlaiParser.parse_args = parse_and_check
    return True


def check_dynamic_batches(opt: Any) -> None:
    """Check that ParlAI can compute how many texts fit into a batch, and that one text does."""
    limits = {name: opt.get(name) or opt.get('truncate') or -1 for name in ('text_truncate', 'label_truncate')}
    missing = [f'no --{name.replace("_", "-")}' for name, limit in limits.items() if limit < 0]
    which = '--dynamic-batching' if opt.get('dynamic_batching') else '--num-workers'
    if missing:
        raise UserError(
            f'{which} makes batches of about as many tokens as --batchsize texts of the longest length: saw '
            f'{" and ".join(missing)}; give the most tokens of a context and of a response'
        )
    places = sum(limits.values()) * opt['batchsize']
    longest = sum(-(-limit // ROUNDED) * ROUNDED for limit in limits.values())
    if longest > places:
        raise UserError(
            f'{which}: a batch has {places} places for tokens (--batchsize times the sum of --text-truncate and '
            f'--label-truncate), but one example can take {longest}; raise --batchsize'
        )


@fixes('parlai.scripts.train_model')
def unknown_validation_metric(module: Any) -> bool:
    """A `--validation-metric` that the validation does not report ends the training in a traceback.

    ParlAI 1.7.2 does this on every stack. It is now one line, with the metrics that there are.
    """
    validate = module.TrainLoop.validate

    @functools.wraps(validate)
    def validate_or_explain(self):
        try:
            return validate(self)
        except KeyError as error:
            wanted = self.opt['validation_metric']
            if error.args != (wanted,):
                raise
            known = sorted(name for name, value in self.valid_reports[-1].items() if isinstance(value, int | float))
            raise UserError(
                f'--validation-metric {wanted}: the validation reports no such metric, but {", ".join(known)}'
                f'{nearest(wanted, known)}'
            ) from None

    module.TrainLoop.validate = validate_or_explain
    return True


@fixes('parlai.core.params')
def presets_of_trainings(module: Any) -> bool:
    """A preset of a training (`-o`) works only with `train_model`.

    ParlAI 1.7.2 does this on every stack: other commands do not know `--num-epochs`. With `--allow-missing-init-opts`
    the preset overrides the options that the model was trained with. Detected by options that only `train_model` has.
    These are now left out, and so is the size of batches. The preset gives the task and the other defaults; a trained
    model keeps its own options. A training of another task (`-t`) leaves out the options of the preset's task.
    """
    load = module.ParlaiParser._load_opts

    @functools.wraps(load)
    def load_known(self, opt):
        if not is_of_a_training(opt):
            load(self, opt)
            return
        left_out = () if 'num_epochs' in opt else OF_A_TRAINING
        for key, value in module.Opt.load_init(opt['init_opt']).items():
            if key in opt and key not in (*opt['override'], *left_out):
                opt[key] = value

    module.ParlaiParser._load_opts = load_known
    return True


@fixes('parlai.core.agents')
def untrained_models_do_not_answer(module: Any) -> bool:
    """Without a model file, commands that need one answer with an untrained model.

    ParlAI 1.7.2 does this on every stack, also with a preset of a training (see `presets_of_trainings`). It is now an
    error for such a preset, and for those of our agents that know nothing before a training (`NEEDS_TRAINING`).
    """
    create = module.create_agent

    @functools.wraps(create)
    def create_trained(opt, requireModelExists=False):
        if requireModelExists and not opt.get('model_file'):
            refuse_untrained(opt)
        return create(opt, requireModelExists)

    replace_everywhere(create, create_trained)
    return True


def refuse_untrained(opt: Any) -> None:
    from parlai.core.loader import load_agent_module

    todo = 'train a model with it (parlai train_model), or name the trained model with --model-file'
    if opt.get('init_opt') and is_of_a_training(opt):
        raise UserError(f'-o {opt["init_opt"]} describes a training: {todo}')
    model = opt.get('model')
    if not model:
        raise UserError('no model: give -mf FILE, -mf zoo:persona/NAME (a model of the zoo) or -m NAME (an agent)')
    if getattr(load_agent_module(model), 'NEEDS_TRAINING', False):
        raise UserError(f'-m {model} knows nothing before a training: {todo}')


@fixes('parlai.scripts.eval_model')
def evaluations_name_their_task(module: Any) -> bool:
    """`eval_model` without `-t` ends in a traceback.

    ParlAI 1.7.2 does this on every stack. It now says what is missing.
    """
    evaluate = module.eval_model

    @functools.wraps(evaluate)
    def evaluate_task(opt):
        if not opt.get('task'):
            raise UserError('eval_model: no task. Give -t TASK, such as -t persona:personachat')
        return evaluate(opt)

    module.eval_model = evaluate_task
    return True


def is_of_a_training(opt: Any) -> bool:
    """Tell whether the preset has options that this command lacks, and `train_model` has all of them."""
    from parlai.core.opt import Opt
    from parlai.scripts.train_model import TrainModel

    unknown = [key for key in Opt.load_init(opt['init_opt']) if key not in opt]
    if not unknown:
        return False
    parser = TrainModel.setup_args()
    parser.add_extra_args(['-o', opt['init_opt']])
    return set(unknown) <= {action.dest for action in parser._actions}
