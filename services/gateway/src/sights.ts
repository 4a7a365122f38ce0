import type { Claims } from "@walcast/authz";
import type { Relation } from "@walcast/model";
import {
  principalOf,
  ruleFor,
  unauthorized,
  type AccessAnswer,
  type AccessCatalog,
  type Principal,
  type RowKind,
  type Visibility,
} from "@walcast/row-security";
import type { SeenChange } from "./explanations.ts";
import type { Sight } from "./explanation.ts";
import { isDenial, keyJsonOf, readableBy } from "./ruling.ts";

export interface SightsOptions {
  readonly catalog: Pick<AccessCatalog, "access">;
  readonly visibility: Pick<Visibility, "visible">;
}

/** Who looks: what a membership's principal is made of. */
export interface Viewer {
  readonly claims: Claims | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** What tokens may see of changes, by the rules that delivery has (ruling.ts, readers.ts), for those who are told why. */
export class Sights {
  readonly #options: SightsOptions;

  constructor(options: SightsOptions) {
    this.#options = options;
  }

  /** One for each change. What cannot be found out is `unknown`, and shows nothing. */
  async of(
    changes: readonly SeenChange[],
    { claims, headers }: Viewer,
    signal: AbortSignal,
  ): Promise<readonly Sight[]> {
    if (claims === undefined) return changes.map(() => ({ tag: "refused", error: unauthorized }));
    const principal = principalOf(claims, headers);
    const sights: Sight[] = [];
    for (const relation of new Set(changes.map((change) => change.relation))) {
      const its = [...changes.entries()].filter(([, change]) => change.relation === relation);
      const seen = its.map(([, change]) => change);
      const found = await this.#ofTable(relation, { seen, principal, signal }).catch((error: unknown): Sight[] => {
        const sight: Sight = isDenial(error)
          ? { tag: "refused", error: unauthorized }
          : { tag: "unknown", reason: error instanceof Error ? error.message : String(error) };
        return seen.map(() => sight);
      });
      for (const [n, [i]] of its.entries()) sights[i] = found[n] ?? { tag: "hidden" };
    }
    return sights;
  }

  async #ofTable(
    relation: Relation,
    { seen, principal, signal }: { seen: readonly SeenChange[]; principal: Principal; signal: AbortSignal },
  ): Promise<Sight[]> {
    const answer = await this.#options.catalog.access(relation, principal.role);
    const sights = seen.map(({ change }) => sightBy(answer, change.kind as RowKind, relation));
    const asked = seen.flatMap((one, i) => (sights[i] === "asked" ? [one] : []));
    const visible =
      asked.length === 0
        ? []
        : await this.#options.visibility.visible(
            {
              relation,
              principal,
              keys: asked.map(({ change }) => keyJsonOf({ change, relation }, answer)),
              xids: new Set(asked.map(({ change }) => change.xid)),
            },
            { signal },
          );
    const visibleOnes = new Set(asked.filter((_, n) => visible[n] === true));
    return sights.map((sight, i) => {
      if (sight !== "asked") return sight;
      const one = seen[i];
      return one !== undefined && visibleOnes.has(one) ? readable(answer, { isKeyOnly: false }) : { tag: "hidden" };
    });
  }
}

/** `asked`: policies decide. */
function sightBy(answer: AccessAnswer, kind: RowKind, relation: Relation): Sight | "asked" {
  const rule = ruleFor(answer, kind, relation);
  if (rule.tag === "refused") return rule;
  if (rule.rows === "visible") return "asked";
  return readable(answer, { isKeyOnly: rule.oldColumns !== undefined });
}

const readable = (answer: AccessAnswer, { isKeyOnly }: { readonly isKeyOnly: boolean }): Sight => ({
  tag: "readable",
  isReadable: readableBy(answer),
  isKeyOnly,
});
