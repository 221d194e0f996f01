"""Train the fluency detector on half of the golden clips and judge it on the other half, both ways round.

python packages/aac-llm/benchmarks/fluency.py GOLDEN --encoder runs/models/e5-small --num_layers 6 \
    --steps 300 --scores --out runs/fluency-folds

GOLDEN is `clotho_eval_0_499.jsonl`: 500 clips with five references each, and of one system's captions FENSE's
probability of an error (`fer_error_prob`). Clips of even rows are one half, those of odd rows the other. Goes
on after a kill.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from aac_llm.config.fluency import FluencyConfig
from aac_llm.correction.gate import rule_gate
from aac_llm.metrics.fluency import FluencyDetector
from aac_llm.metrics.fluency_calibration import Detection, detect
from aac_llm.metrics.statistics import wilson_interval
from aac_llm.trainers.fluency import train_fluency
from aac_llm.trainers.fluency_examples import broken_captions
from scipy.stats import spearmanr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("golden", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder")
    parser.add_argument("--num_layers", type=int)
    parser.add_argument("--steps", type=int, default=FluencyConfig.steps)
    parser.add_argument("--learning_rate", type=float, default=FluencyConfig.learning_rate)
    parser.add_argument("--scores", action="store_true", help="learn FENSE's opinion of the half's captions")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1], help="halves to train on")
    settings = parser.parse_args()
    rows = [json.loads(line) for line in settings.golden.read_text().splitlines()]
    judged = [judge(settings, rows, fold) for fold in settings.folds]
    ours = sum_of([fold["ours"] for fold in judged])
    rules = sum_of([fold["rules"] for fold in judged])
    print("\nboth halves together, each judged by the detector of the other\n")
    print("| | detector | 95 % | rules | of |\n|---|---|---|---|---|")
    for kind, made in ours.made.items():
        low, high = wilson_interval(ours.found[kind], made)
        print(
            f"| {kind.replace('_', ' ')} | {ours.found[kind] / made:.3f} | {low:.3f} to {high:.3f} "
            f"| {rules.found[kind] / made:.3f} | {made} |"
        )
    low, high = wilson_interval(ours.false_alarms, ours.num_fluent)
    print(
        f"| false alarms | {ours.false_alarms / ours.num_fluent:.4f} | {low:.4f} to {high:.4f} "
        f"| {rules.false_alarms / rules.num_fluent:.4f} | {ours.num_fluent} |"
    )


def judge(settings: argparse.Namespace, rows: list[dict], fold: int) -> dict[str, Detection]:
    """Train on a half, and judge on the other one."""
    mine = [row for row in rows if row["row"] % 2 == fold]
    others = [row for row in rows if row["row"] % 2 != fold]
    captions, scores = write_half(settings.out, mine, fold)
    config = FluencyConfig(
        captions=(captions,),
        scores=scores if settings.scores else None,
        encoder=settings.encoder,
        num_layers=settings.num_layers,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        out=settings.out / f"fold{fold}",
    )
    train_fluency(config)
    detector = FluencyDetector.from_pretrained(config.out)
    people = [text for row in others for text in row["references"]]
    broken = broken_captions(people, seed=1000 + fold)
    ours = detect(
        detector.fault_score(people),
        {kind: detector.fault_score(texts) for kind, texts in broken.items()},
        detector.threshold,
    )
    gate = rule_gate()
    rules = detect(
        gate.score(people), {kind: gate.score(texts) for kind, texts in broken.items()}, gate.threshold
    )
    candidates = [row["candidate"] for row in others]
    fense = np.array([row["fer_error_prob"] for row in others])
    found = detector.error_probability(candidates)
    seen = {row["candidate"] for row in mine}
    new = np.array([text not in seen for text in candidates])
    all_of_it, unseen = (spearmanr(found[part], fense[part]).statistic for part in (new | ~new, new))
    print(f"trained on half {fold}, judged on the other one")
    print(f"  Spearman with FENSE: {all_of_it:.3f} on {len(new)} captions of a system")
    print(f"  on the {new.sum()} of them that are not captions of the training's half, too: {unseen:.3f}")
    flagged = int((detector.fault_score(candidates) >= detector.threshold).sum())
    print(f"  of the system's captions flagged: {flagged}")
    print(f"  false alarms {ours.false_alarms} of {ours.num_fluent}")
    print("  found: " + ", ".join(f"{kind} {value:.3f}" for kind, value in ours.recall.items()))
    return {"ours": ours, "rules": rules}


def write_half(folder: Path, rows: list[dict], fold: int) -> tuple[Path, Path]:
    """Write a half's references as COCO's annotations, and FENSE's opinion of its captions."""
    folder.mkdir(parents=True, exist_ok=True)
    captions, scores = folder / f"captions{fold}.json", folder / f"scores{fold}.jsonl"
    annotations = [{"image_id": row["row"], "caption": text} for row in rows for text in row["references"]]
    captions.write_text(json.dumps({"annotations": annotations}))
    lines = [{"caption": row["candidate"], "error_probability": row["fer_error_prob"]} for row in rows]
    scores.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return captions, scores


def sum_of(found: list[Detection]) -> Detection:
    total = found[0]
    for other in found[1:]:
        total += other
    return total


if __name__ == "__main__":
    main()
