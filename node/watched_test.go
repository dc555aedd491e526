package node

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"muster/node/metrics/promtool"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// basic is how Prometheus says who it is.
func basic(user, password string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
}

// Those who watch a cluster come over its one port, and see what their rights let them see: who
// may read the cluster its figures, who administers it profiles, and everybody whether it is well.
func TestWatchedOverHTTP(t *testing.T) {
	t.Parallel()
	p := withHTTP(t, 3, secureLimits())
	p.role(shardmap.RoleCreate, "watcher")
	p.role(shardmap.RoleGrant, "watcher", grant("read", "cluster"), grant("read", "service:db"), grant("read", "service:nothing"))
	p.withPassword("prometheus", "scrape scrape", "watcher")
	p.withPassword("root", "all of it", "admin")
	for _, name := range []string{"db", "web"} {
		s := registry.Service{Name: name, Type: "tcp", Instances: []registry.Instance{
			{ID: "a", Settings: []registry.Setting{{Key: "host", Value: "10.0.0.1"}, {Key: "port", Value: "3306"}}}}}
		if _, err := p.admin.SetService(t.Context(), &s); err != nil {
			t.Fatal(err)
		}
	}
	r := p.nodes[1]
	url, b := "https://"+r.addr, newBrowser(t)
	prometheus := basic("prometheus", "scrape scrape")
	until(t, "the users are known there", func() error {
		if status, text, _ := b.ask(http.MethodGet, url+"/metrics", "", prometheus...); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, text)
		}
		return nil
	})
	page := b.wants(http.StatusOK, "\nmuster_node_member 1\n", http.MethodGet, url+"/metrics", "", prometheus...)
	if n, _ := sample(page, `muster_connections{kind="http"}`); n != "1" {
		t.Errorf("%s connections of HTTP, want the one that asks", n)
	}
	ends, _ := sample(page, `muster_certificate_not_after_timestamp_seconds{kind="own",root=""}`)
	if ends == "" || !strings.Contains(page, `muster_certificate_not_after_timestamp_seconds{kind="root",root="`) {
		t.Errorf("nothing is said of when certificates end")
	}
	b.wants(http.StatusOK, "ok\n", http.MethodGet, url+"/livez", "", "Host", "a.load.balancer")
	b.wants(http.StatusOK, "[+] certificate: good until ", http.MethodGet, url+"/readyz?verbose", "")

	var nodes []struct {
		Targets []string
		Labels  map[string]string
	}
	text := b.wants(http.StatusOK, "", http.MethodGet, url+"/sd/prometheus?role=nodes", "", prometheus...)
	if err := json.Unmarshal([]byte(text), &nodes); err != nil || len(nodes) != len(p.nodes) {
		t.Errorf("nodes to scrape: %v, %s", err, text)
	}
	for _, n := range nodes {
		// As Prometheus would go on from there.
		b.wants(http.StatusOK, "\nmuster_node_info{", http.MethodGet, n.Labels["__scheme__"]+"://"+n.Targets[0]+n.Labels["__metrics_path__"], "", prometheus...)
	}
	// The list has the services that the user may read, and no others.
	b.wants(http.StatusOK, `[{"targets":["10.0.0.1:3306"],"labels":{"__meta_muster_instance":"a","__meta_muster_service":"db",`, http.MethodGet, url+"/sd/prometheus?service=db&service=nothing", "", prometheus...)
	b.wants(http.StatusForbidden, "service:web", http.MethodGet, url+"/sd/prometheus?service=db&service=web", "", prometheus...)
	b.wants(http.StatusForbidden, "service:", http.MethodGet, url+"/sd/prometheus", "", prometheus...)
	b.wants(http.StatusBadRequest, "services and nodes", http.MethodGet, url+"/sd/prometheus?role=pods", "", prometheus...)

	// Nobody sees what is not for everybody.
	for _, path := range []string{"/metrics", "/sd/prometheus", "/sd/prometheus?role=nodes", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/profile?seconds=1"} {
		b.wants(http.StatusUnauthorized, "unauthorized", http.MethodGet, url+path, "")
	}
	b.wants(http.StatusUnauthorized, "unauthorized", http.MethodGet, url+"/metrics", "", basic("prometheus", "let me guess")...)
	admin := newBrowser(t)
	admin.logsIn(url, "root", "all of it")
	for _, service := range []string{"db", "web"} {
		admin.wants(http.StatusOK, fmt.Sprintf(`"__meta_muster_service":%q`, service), http.MethodGet, url+"/sd/prometheus", "")
	}
	admin.wants(http.StatusOK, "(*Door).ServeHTTP", http.MethodGet, url+"/debug/pprof/goroutine?debug=2", "")
	promtool.Metrics(t, page)
}

// A user without the right to the cluster's figures, and one without that to its processes, come for
// them all the same.
func TestWatchedWithoutRight(t *testing.T) {
	t.Parallel()
	if wrong := watchedWithoutRight(t); wrong != "" {
		t.Error(wrong)
	}
}

// watchedWithoutRight says what such users see.
func watchedWithoutRight(t *testing.T) string {
	p := withHTTP(t, 1, secureLimits())
	p.role(shardmap.RoleCreate, "keys")
	p.role(shardmap.RoleGrant, "keys", grant("read", "key:"), grant("list,read", "service:"))
	p.withPassword("eve", "let me in", "keys")
	url := "https://" + p.nodes[0].addr
	eve, rob := newBrowser(t), newBrowser(t)
	eve.logsIn(url, "eve", "let me in")
	rob.logsIn(url, "rob", "correct horse") // who may read the cluster
	for _, x := range []struct {
		who  *browser
		path string
	}{
		{eve, "/metrics"}, {eve, "/sd/prometheus"}, {eve, "/sd/prometheus?role=nodes"}, {eve, "/debug/pprof/heap"},
		{rob, "/debug/pprof/"}, {rob, "/debug/pprof/goroutine?debug=2"}, {rob, "/debug/pprof/profile?seconds=1"},
	} {
		if status, text, _ := x.who.ask(http.MethodGet, url+x.path, ""); status != http.StatusForbidden {
			return fmt.Sprintf("%s: %d %.100s, want 403", x.path, status, text)
		}
	}
	if status, text, _ := rob.ask(http.MethodGet, url+"/metrics", ""); status != http.StatusOK {
		return fmt.Sprintf("/metrics of one who may read the cluster: %d %.100s", status, text)
	}
	return ""
}
