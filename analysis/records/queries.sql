-- Views of a study for DuckDB 1.2 or newer; the folder is that of the study:
--     set variable study_dir = 'studies/digits';
--     .read queries.sql
--     select cell, phase, teacher, method, count(*) as n, count(fid) as with_fid, avg(fid) as mean, stddev_samp(fid) as std
--     from runs group by all order by all;

-- A row a member. Members of one cell differ in nothing but the seed; phases (grid, search, confirm) are cells apart.
create or replace view runs as
select substr(md5(phase || ' ' || json_merge_patch(member::json, '{"seed":null}'::json)), 1, 12) as cell, *
from read_parquet(getvariable('study_dir') || '/records/runs/*.parquet');

-- A row a point of a member's training curve.
create or replace view curves as
select parse_filename(filename, true) as run_id, * exclude (filename)
from read_parquet(getvariable('study_dir') || '/records/curves/*.parquet', filename = true);
