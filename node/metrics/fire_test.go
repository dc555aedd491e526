package metrics

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/node/metrics/promtool"
)

// fires is, for each alert, series of a minute each under which it must fire within eight hours,
// and the same cluster when all is well, under which none may. The series are in the notation of
// promtool: where a value begins, what is added each minute, how often.
var fires = map[string]struct{ ill, well []string }{
	"MusterNodeDown":             {[]string{`up{job="muster",instance="a"} 0x480`}, []string{`up{job="muster",instance="a"} 1x480`}},
	"MusterNodeDead":             {[]string{`muster_cluster_nodes{status="dead",instance="a"} 1x480`}, []string{`muster_cluster_nodes{status="dead",instance="a"} 0x480`, `muster_cluster_nodes{status="alive",instance="a"} 3x480`}},
	"MusterLoopStandsStill":      {[]string{`muster_node_loop_answers{instance="a"} 0x480`, `muster_node_member{instance="a"} 1x480`}, []string{`muster_node_loop_answers{instance="a"} 1x480`, `muster_node_member{instance="a"} 1x480`}},
	"MusterNotReached":           {[]string{`muster_node_member{instance="a"} 0x480`}, nil},
	"MusterGroupWithoutLeader":   {[]string{`muster_raft_leader_known{group="3",instance="a"} 0x480`, `muster_raft_leader_known{group="3",instance="b"} 0x480`}, []string{`muster_raft_leader_known{group="3",instance="a"} 0x480`, `muster_raft_leader_known{group="3",instance="b"} 1x480`}},
	"MusterReplicaOut":           {[]string{`muster_raft_serves{group="3",instance="a"} 0x480`}, []string{`muster_raft_serves{group="3",instance="a"} 1x480`}},
	"MusterFollowerLags":         {[]string{`muster_raft_follower_lag_entries{group="3",node="2",instance="a"} 200000x480`}, []string{`muster_raft_follower_lag_entries{group="3",node="2",instance="a"} 40x480`}},
	"MusterElections":            {[]string{`muster_raft_term{group="3",instance="a"} 1+1x480`}, []string{`muster_raft_term{group="3",instance="a"} 7x480`}},
	"MusterTablesDiffer":         {[]string{`muster_table_index{instance="a"} 5x480`, `muster_table_index{instance="b"} 9x480`}, []string{`muster_table_index{instance="a"} 9x480`, `muster_table_index{instance="b"} 9x480`}},
	"MusterDiskFull":             {[]string{`muster_disk_full{instance="a"} 1x480`}, []string{`muster_disk_full{instance="a"} 0x480`}},
	"MusterDiskFillsUp":          {[]string{`muster_disk_free_bytes{instance="a"} 30000000000-20000000x480`}, []string{`muster_disk_free_bytes{instance="a"} 30000000000-1000x480`}},
	"MusterDiskStalls":           {[]string{`muster_disk_stalled_seconds{instance="a"} 2x480`}, []string{`muster_disk_stalled_seconds{instance="a"} 0x480`}},
	"MusterDiskSlow":             {slow("muster_log_sync_duration_seconds", `instance="a"`), quick("muster_log_sync_duration_seconds", `instance="a"`)},
	"MusterWritesSlow":           {slow("muster_request_duration_seconds", `kind="write",instance="a"`), quick("muster_request_duration_seconds", `kind="write",instance="a"`)},
	"MusterReadsSlow":            {slow("muster_request_duration_seconds", `kind="read",instance="a"`), quick("muster_request_duration_seconds", `kind="read",instance="a"`)},
	"MusterRequestsRefused":      {[]string{`muster_requests_refused_total{type="Write",code="busy",instance="a"} 0+600x480`}, []string{`muster_requests_refused_total{type="Write",code="not-leader",instance="a"} 0+600x480`}},
	"MusterRightsRefused":        {[]string{`muster_requests_refused_total{type="Get",code="unauthorized",instance="a"} 0+600x480`}, []string{`muster_requests_refused_total{type="Get",code="unauthorized",instance="a"} 0+1x480`}},
	"MusterConnectionsNearLimit": {[]string{`muster_connections{kind="client",instance="a"} 90x480`, `muster_connections_max{kind="client",instance="a"} 100x480`}, []string{`muster_connections{kind="stranger",instance="a"} 90x480`, `muster_connections_max{kind="stranger",instance="a"} 100x480`}},
	"MusterFilesNearLimit":       {[]string{`process_open_fds{job="muster",instance="a"} 90x480`, `process_max_fds{job="muster",instance="a"} 100x480`}, []string{`process_open_fds{job="muster",instance="a"} 9x480`, `process_max_fds{job="muster",instance="a"} 100x480`}},
	"MusterSessionsNearLimit":    {[]string{`muster_group_sessions{group="3",instance="a"} 90x480`, `muster_group_sessions_max{group="3",instance="a"} 100x480`}, []string{`muster_group_sessions{group="3",instance="a"} 9x480`, `muster_group_sessions_max{group="3",instance="a"} 100x480`}},
	"MusterWatchesNearLimit":     {[]string{`muster_watches{instance="a"} 90x480`, `muster_watches_max{instance="a"} 100x480`}, []string{`muster_watches{instance="a"} 9x480`, `muster_watches_max{instance="a"} 100x480`}},
	"MusterJobStuck":             {[]string{`muster_jobs_stuck{instance="a"} 1x480`}, []string{`muster_jobs_stuck{instance="a"} 0x480`}},
	"MusterBackupOverdue":        {[]string{`muster_backup_age_seconds{instance="a"} 8000x480`, `muster_backup_every_seconds{instance="a"} 3600x480`}, []string{`muster_backup_age_seconds{instance="a"} 3700x480`, `muster_backup_every_seconds{instance="a"} 3600x480`}},
	"MusterBackupFailed":         {[]string{`muster_backups_total{outcome="failed",instance="a"} 0x470 1x10`}, []string{`muster_backups_total{outcome="failed",instance="a"} 4x480`}},
	"MusterSlotStuck":            {[]string{`muster_slot_moves_stuck{instance="a"} 1x480`}, []string{`muster_slot_moves_stuck{instance="a"} 0x480`}},
	"MusterReplicaDiffered":      {[]string{`muster_cluster_incidents_total{instance="a"} 0x470 1x10`}, []string{`muster_cluster_incidents_total{instance="a"} 4x480`}},
	"MusterDamage":               {[]string{`muster_mend_total{what="replicas found damaged while running",instance="a"} 0x470 1x10`}, []string{`muster_mend_total{what="questions",instance="a"} 0+1x480`}},
	"MusterCertificateEnds":      {[]string{`muster_certificate_not_after_timestamp_seconds{kind="own",root="",instance="a"} 200000x480`}, []string{`muster_certificate_not_after_timestamp_seconds{kind="own",root="",instance="a"} 2000000x480`}},
	"MusterRootEnds":             {[]string{`muster_certificate_not_after_timestamp_seconds{kind="root",root="ab",instance="a"} 8640000x480`}, []string{`muster_certificate_not_after_timestamp_seconds{kind="root",root="ab",instance="a"} 86400000x480`}},
	"MusterChecksWithoutNode":    {[]string{`muster_service_checks_homeless{instance="a"} 1x480`}, []string{`muster_service_checks_homeless{instance="a"} 0x480`}},
	"MusterWebhooksFail":         {[]string{`muster_webhooks_failed_total{instance="a"} 0+60x480`}, []string{`muster_webhooks_failed_total{instance="a"} 8x480`}},
	"MusterTrailNotWritten":      {[]string{`muster_trail_missing{instance="a"} 1x480`}, []string{`muster_trail_missing{instance="a"} 0x480`}},
	"MusterVersionsDiffer":       {[]string{`muster_build_info{version="1",instance="a"} 1x480`, `muster_build_info{version="2",instance="b"} 1x480`}, []string{`muster_build_info{version="2",instance="a"} 1x480`, `muster_build_info{version="2",instance="b"} 1x480`}},
}

// slow is a histogram of which all took over half a second, quick one of which nothing did.
func slow(name, labels string) []string {
	return []string{
		fmt.Sprintf(`%s_bucket{%s,le="0.524288"} 0x480`, name, labels), fmt.Sprintf(`%s_bucket{%s,le="1.048576"} 0+100x480`, name, labels), fmt.Sprintf(`%s_bucket{%s,le="+Inf"} 0+100x480`, name, labels),
	}
}

func quick(name, labels string) []string {
	return []string{
		fmt.Sprintf(`%s_bucket{%s,le="0.000512"} 0+100x480`, name, labels), fmt.Sprintf(`%s_bucket{%s,le="1.048576"} 0+100x480`, name, labels), fmt.Sprintf(`%s_bucket{%s,le="+Inf"} 0+100x480`, name, labels),
	}
}

// An alert that never fires is worse than none: somebody relies on it. Each fires when what it is
// about is so, and none does when all is well.
func TestAlertsFire(t *testing.T) {
	path, err := filepath.Abs("../../docs/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for rule := range strings.SplitSeq(string(rules), "- alert: ") {
		if name, _, _ := strings.Cut(rule, "\n"); strings.HasPrefix(name, "Muster") {
			if _, ok := fires[name]; !ok {
				t.Errorf("nothing is known under which %s fires", name)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [%q]\nevaluation_interval: 1m\ntests:\n", path)
	world := func(series []string, wants map[string]int) {
		b.WriteString("  - interval: 1m\n    input_series:\n")
		for _, s := range series {
			name, values, _ := strings.Cut(s, "} ")
			fmt.Fprintf(&b, "      - {series: '%s}', values: '%s'}\n", name, values)
		}
		b.WriteString("    promql_expr_test:\n")
		for expr, want := range wants {
			fmt.Fprintf(&b, "      - {expr: '%s', eval_time: 8h, exp_samples: [{labels: '{}', value: %d}]}\n", expr, want)
		}
	}
	var ill, well []string
	fire := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(fires)) {
		for _, s := range fires[name].ill {
			ill = append(ill, strings.ReplaceAll(s, `instance="`, `instance="`+name)) // nodes of its own
		}
		for _, s := range fires[name].well {
			if !slices.Contains(well, s) {
				well = append(well, s)
			}
		}
		fire[fmt.Sprintf(`count(ALERTS{alertname="%s",alertstate="firing"})`, name)] = 1
	}
	world(ill, fire)
	world(well, map[string]int{"count(ALERTS) or vector(0)": 0})
	promtool.Test(t, b.String())
}
