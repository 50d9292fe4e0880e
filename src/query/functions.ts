/**
 * Every function that SQLite is built with here, and what it means for a statement: `pure` gives the same for the
 * same; `date` does unless it is asked for 'now'; `changing` never promises; `refused` is not for statements from
 * outside. What is on no list is refused, and a test holds the lists against SQLite's own.
 */
export type FunctionKind = "pure" | "date" | "changing" | "refused";

const LISTS: Readonly<Record<FunctionKind, string>> = {
  pure: `abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh count
    cume_dist degrees dense_rank exp first_value floor format glob group_concat hex if ifnull iif instr lag last_value
    lead length like likelihood likely ln log log10 log2 lower ltrim max median min mod nth_value ntile nullif
    octet_length percent_rank percentile percentile_cont percentile_disc pi pow power printf quote radians rank replace
    round row_number rtrim sign sin sinh soundex sqrt string_agg substr substring subtype sum tan tanh total trim trunc
    typeof unhex unicode unistr unistr_quote unlikely upper zeroblob sqlite_version match
    -> ->> json json_array json_array_insert json_array_length json_error_position json_extract json_group_array
    json_group_object json_insert json_object json_patch json_pretty json_quote json_remove json_replace json_set
    json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object
    jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set
    bm25 highlight snippet fts5_get_locale fts5_insttoken fts5_locale
    geopoly_area geopoly_bbox geopoly_blob geopoly_ccw geopoly_contains_point geopoly_group_bbox geopoly_json
    geopoly_overlap geopoly_regular geopoly_svg geopoly_within geopoly_xform`,
  date: "date datetime julianday strftime time timediff unixepoch",
  changing:
    "current_date current_time current_timestamp random randomblob changes total_changes last_insert_rowid",
  // They load code, write to the server's log, hand out addresses, or read tables by a name in a text.
  refused: `load_extension sqlite_log sqlite_compileoption_get sqlite_compileoption_used sqlite_source_id
    fts3_tokenizer fts5 fts5_source_id geopoly_debug matchinfo offsets optimize rtreecheck rtreedepth rtreenode`,
};

export const FUNCTIONS: ReadonlyMap<string, FunctionKind> = new Map(
  (Object.entries(LISTS) as [FunctionKind, string][]).flatMap(([kind, names]) =>
    names
      .trim()
      .split(/\s+/)
      .map((name) => [name, kind] as const),
  ),
);
