/** What the connection parameter `resume` says; walcast's own addition, which other servers ignore. */
export type ResumeId =
  | { readonly tag: "none" }
  | { readonly tag: "id"; readonly id: string }
  | { readonly tag: "invalid"; readonly reason: string };

/** Short ones could be guessed, and long ones would fill the memory of those who remember them. */
const shape = /^[A-Za-z0-9._~-]{16,128}$/u;

/** An invalid one is refused: a client that believes to be remembered and is not would miss changes in silence. */
export function readResumeId(given: string | undefined): ResumeId {
  if (given === undefined || given === "") return { tag: "none" };
  if (shape.test(given)) return { tag: "id", id: given };
  return {
    tag: "invalid",
    reason: "InvalidResumeId: resume must be 16 to 128 of A-Z a-z 0-9 . _ ~ -, such as crypto.randomUUID() gives",
  };
}
