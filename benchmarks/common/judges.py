"""The judges of what agents say. They are in the zoo, so anybody can ask them."""

from benchmarks.common.record import Row

NLI, RECEIVER = 'zoo:persona/nli@2', 'zoo:persona/p2bot_receiver@1'
ASK_NLI, ASK_RECEIVER = f'--persona-nli {NLI}', f'--persona-receiver {RECEIVER}'
JUDGES = f'{ASK_NLI} {ASK_RECEIVER}'
ASKED = {  # metric -> the flag that names its judge
    **dict.fromkeys(('consistency', 'consistency_fold'), ASK_NLI),
    **dict.fromkeys(('contradiction', 'contradicts_itself', 'contradicts_persona'), ASK_NLI),
    **dict.fromkeys(('persona_perception', 'persona_perception_score'), ASK_RECEIVER),
}


def earlier_judge(row: Row) -> bool:
    """Tell whether another judge than today's was asked."""
    return row.metric in ASKED and f'{ASKED[row.metric]} ' not in f'{row.command} '
