-- What the seeds of some mutants need to have, as options of sim.run: for mutants_spec.lua and scripts/mutants/run.lua.
return {
  deploy_over_restore = { restores = true },
  deploy_not_skipped = { poison = true },
  migrate_half_kept = { machine = "lua", app = "spec/sim/app" },
}
