import type { PlaceStore } from "./place-store.ts";

export interface Watch {
  /** An operation failed, or one succeeded (undefined). */
  readonly onTrouble: (trouble: Error | undefined) => void;
  readonly onFailure: (operation: keyof PlaceStore) => void;
}

/** The store, with all that fails told in one place. */
export function watchedPlaceStore(store: PlaceStore, { onTrouble, onFailure }: Watch): PlaceStore {
  const watched = async <T>(operation: keyof PlaceStore, doing: Promise<T>): Promise<T> => {
    try {
      const done = await doing;
      onTrouble(undefined);
      return done;
    } catch (error) {
      onFailure(operation);
      onTrouble(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  };
  return {
    claim: (claim) => watched("claim", store.claim(claim)),
    note: (notes) => watched("note", store.note(notes)),
    forget: (placement) => watched("forget", store.forget(placement)),
  };
}
