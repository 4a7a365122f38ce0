import type { Reporter, TestModule, TestRunEndReason, TestSpecification, TestSuite, Vitest } from "vitest/node";

interface Summary {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Ends a run with one plain line, `12 passed, 0 failed, 1 skipped`, for machines that read only that.
 *
 * `failed` is never 0 when the run failed: files that do not load, hooks and set-ups that throw, files that never ran
 * and errors outside of tests each count as one failure.
 */
export default class SummaryReporter implements Reporter {
  #isWatching = false;
  #expectedFiles = 0;
  #summary: Summary = { passed: 0, failed: 0, skipped: 0 };

  onInit(vitest: Vitest): void {
    this.#isWatching = vitest.config.watch;
    if (this.#isWatching) return;
    // At exit, because other reporters and the closing of servers still print after the last test.
    process.once("exit", (code) => {
      if (code !== 0 && this.#summary.failed === 0) this.#summary.failed = 1;
      print(this.#summary);
    });
  }

  onTestRunStart(specifications: readonly TestSpecification[]): void {
    this.#expectedFiles = specifications.length;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[], reason: TestRunEndReason): void {
    this.#summary = summarize(modules, Math.max(0, this.#expectedFiles - modules.length) + unhandledErrors.length);
    if (reason !== "passed" && this.#summary.failed === 0) this.#summary.failed = 1;
    if (this.#isWatching) print(this.#summary);
  }
}

function summarize(modules: readonly TestModule[], failuresElsewhere: number): Summary {
  const tests = modules.flatMap((module) => [...module.children.allTests()]);
  const passed = tests.filter((test) => test.result().state === "passed").length;
  const skipped = tests.filter((test) => test.result().state === "skipped").length;
  const failed = modules.reduce((sum, module) => sum + countFailures(module), failuresElsewhere);
  return { passed, failed, skipped };
}

function countFailures(suite: TestModule | TestSuite): number {
  let failures = 0;
  for (const child of suite.children) {
    if (child.type === "suite") failures += countFailures(child);
    else if (child.result().state === "failed" || child.result().state === "pending") failures += 1;
  }
  // Failed without a failed test: the file did not load, a hook threw, or it never ran.
  const state = suite.state();
  const isFailed = state !== "passed" && state !== "skipped";
  return failures === 0 && isFailed ? 1 : failures;
}

function print({ passed, failed, skipped }: Summary): void {
  process.stdout.write(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}\n`);
}
