import { SERVICE_FILE } from "../store/sqlite-registry.ts";
import { KEYS_FILE } from "../store/signing-keys.ts";

/** What a data directory has that belongs to no db and cannot be made anew. */
export const SERVER_FILES = [SERVICE_FILE, KEYS_FILE] as const;
