package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

// target is a target group, as Prometheus' http_sd wants it.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// servicesMax bounds the services that a request names: each is a request to the cluster.
const servicesMax = 64

// discoveryMax bounds how long an answer is worked on: while a group has no majority its services can't be read.
const discoveryMax = 10 * time.Second

// Discovery answers Prometheus with what there is to scrape (http_sd): with ?role=nodes the nodes of
// the cluster, by themselves or with ?role=services the instances of services that have a host and
// a port; &service=NAME, which may stand there several times, names those that are wanted.
//
// open returns the client that speaks for whoever asks. A user who may read the named services
// needs no right to list all. secure reports whether the nodes speak TLS.
func Discovery(open func(*http.Request) (*client.Client, error), secure func() bool) http.Handler {
	return discovery(open, secure, discoveryMax)
}

func discovery(open func(*http.Request) (*client.Client, error), secure func() bool, within time.Duration) http.Handler {
	return reading(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		q := r.URL.Query()
		find := func(c *client.Client) ([]target, error) { return services(ctx, c, q["service"]) }
		switch role := q.Get("role"); role {
		case "", "services":
		case "nodes":
			find = func(c *client.Client) ([]target, error) { return members(ctx, c, secure()) }
		default:
			http.Error(w, fmt.Sprintf("role=%q: there are services and nodes", role), http.StatusBadRequest)
			return
		}
		if n := len(q["service"]); n > servicesMax {
			http.Error(w, fmt.Sprintf("%d services are named, the limit is %d: name none, and drop what is not wanted with relabel_configs", n, servicesMax), http.StatusBadRequest)
			return
		}
		c, err := open(r)
		var list []target
		if err == nil {
			list, err = find(c)
		}
		if err != nil {
			refuse(w, err)
			return
		}
		// A list that is null would be refused.
		body, err := json.Marshal(append([]target{}, list...))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		write(w, body)
	})
}

// refuse answers with an error of the cluster. Prometheus keeps the targets that it has, and asks
// again.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	if e := (*wire.Error)(nil); errors.As(err, &e) && e.Code == wire.CodeUnauthorized {
		status = http.StatusForbidden
	}
	http.Error(w, err.Error(), status)
}

// members are the nodes of the cluster, each a target of its own.
func members(ctx context.Context, c *client.Client, secure bool) ([]target, error) {
	t, err := c.Topology(ctx)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	var list []target
	for i := range t.Nodes {
		n := &t.Nodes[i]
		list = append(list, target{[]string{n.Addr}, map[string]string{
			"__scheme__": scheme, "__metrics_path__": "/metrics",
			"__meta_muster_node": n.Name, "__meta_muster_node_id": n.ID.String(), "__meta_muster_node_role": n.Role.String(),
		}})
	}
	return list, nil
}

// services are the instances of the wanted services, or of all if none are named.
func services(ctx context.Context, c *client.Client, wanted []string) ([]target, error) {
	var list []target
	if len(wanted) > 0 {
		for _, name := range wanted {
			item, err := c.Service(ctx, name, client.ReadOptions{})
			if e := (*wire.Error)(nil); errors.As(err, &e) && e.Code == wire.CodeNotFound {
				continue // it may come
			} else if err != nil {
				return nil, err
			}
			list = append(list, instances(item.Service)...)
		}
		return list, nil
	}
	for item, err := range c.Services(ctx, client.ReadOptions{}) {
		if err != nil {
			return nil, err
		}
		list = append(list, instances(item.Service)...)
	}
	// They come slot by slot; in one order, nothing changes where nothing has.
	slices.SortStableFunc(list, func(a, b target) int {
		return strings.Compare(a.Labels["__meta_muster_service"], b.Labels["__meta_muster_service"])
	})
	return list, nil
}

// instances are those of a service that have a host and a port. What is down is there too: its
// metrics tell why, and the label says so.
func instances(s *registry.Service) (list []target) {
	for i := range s.Instances {
		n := &s.Instances[i]
		host, port := n.Get("host"), n.Get("port")
		if host == "" || port == "" {
			continue
		}
		list = append(list, target{[]string{net.JoinHostPort(host, port)}, map[string]string{
			"__meta_muster_service": s.Name, "__meta_muster_service_type": s.Type, "__meta_muster_instance": n.ID, "__meta_muster_status": n.Shown(),
			// With a comma at both ends a regular expression finds a tag wherever it stands.
			"__meta_muster_tags": "," + strings.Join(n.Tags(), ",") + ",",
		}})
	}
	return list
}
