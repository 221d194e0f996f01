"""Put the zero-shot accuracies of several `ml-clap classify --json` files in one table and one heat map.

python packages/ml-clap/benchmarks/compare_accuracy.py english.json ten.json all.json --plot accuracy.png
"""

import argparse
import json
from pathlib import Path

from ml_clap.evaluators.charts import plot_heat_map
from ml_clap.figures import save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    found = {path.stem: json.loads(path.read_text())["results"]["languages"] for path in arguments.results}
    languages = list(next(iter(found.values())))
    values = [[result[language]["accuracy"] for language in languages] for result in found.values()]
    print("| | " + " | ".join(languages) + " | mean |")
    print("|---" * (len(languages) + 2) + "|")
    for name, row in zip(found, values, strict=True):
        cells = " | ".join(f"{value:.1f}" for value in row)
        print(f"| {name} | {cells} | {sum(row) / len(row):.1f} |")
    if arguments.plot:
        title = "Zero-shot accuracy by language"
        save_figure(plot_heat_map(values, list(found), languages, title, "accuracy, %"), arguments.plot)


if __name__ == "__main__":
    main()
