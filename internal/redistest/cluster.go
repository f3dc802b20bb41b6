package redistest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// slots is the number of slots of a Redis Cluster.
const slots = 16384

// A Cluster is a Redis Cluster of masters on loopback, without replicas.
type Cluster []*Server

// StartCluster starts n masters, assigns each an equal range of slots, and waits
// until all of them consider the cluster complete.
func StartCluster(t testing.TB, n int, args ...string) Cluster {
	t.Helper()
	ctx := context.Background()
	var c Cluster
	for range n {
		c = append(c, Start(t, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000"}, args...)...))
	}
	for i, s := range c {
		client := s.Client()
		if err := client.ClusterAddSlotsRange(ctx, i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range c[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		if err := c[0].Client().ClusterMeet(ctx, host, port).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range c {
		client := s.Client()
		for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
			info := client.ClusterInfo(ctx).Val()
			nodes := strings.Count(client.ClusterNodes(ctx).Val(), "connected")
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:"+strconv.Itoa(slots)) && nodes >= n {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the cluster is not complete: %s", info)
			}
		}
	}
	return c
}

// URL returns the cluster's URL, as for --queue.
func (c Cluster) URL() string {
	var addrs []string
	for _, s := range c {
		addrs = append(addrs, s.Addr)
	}
	return "redis://" + strings.Join(addrs, ",") + "/0?cluster=true"
}

// Move migrates a slot and its keys from one master to another, as redis-cli does.
func (c Cluster) Move(t testing.TB, slot int, from, to *Server) {
	t.Helper()
	ctx := context.Background()
	f, g := from.Client(), to.Client()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fid, err := f.ClusterMyID(ctx).Result()
	must(err)
	gid, err := g.ClusterMyID(ctx).Result()
	must(err)
	must(g.Do(ctx, "cluster", "setslot", slot, "importing", fid).Err())
	must(f.Do(ctx, "cluster", "setslot", slot, "migrating", gid).Err())
	host, port, _ := net.SplitHostPort(to.Addr)
	for {
		keys, err := f.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		must(err)
		if len(keys) == 0 {
			break
		}
		args := []any{"migrate", host, port, "", 0, 5000, "keys"}
		for _, k := range keys {
			args = append(args, k)
		}
		must(f.Do(ctx, args...).Err())
	}
	for _, s := range []*Server{to, from} {
		must(s.Client().Do(ctx, "cluster", "setslot", slot, "node", gid).Err())
	}
}
