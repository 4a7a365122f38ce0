/** Tokens name roles of PostgreSQL. Roles belong to the whole server, so others may have made one before. */
export const createRole = (role: string, tables: string): string => `
  DO $$ BEGIN CREATE ROLE ${role} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
  GRANT USAGE ON SCHEMA public TO ${role};
  GRANT SELECT ON ${tables} TO ${role};`;
