package redistest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/picket-edr/picket/internal/testenv"
)

// clusterSlots is the number of slots of a Redis Cluster.
const clusterSlots = 16384

// A Cluster is a Redis Cluster of masters on loopback, without replicas.
type Cluster []*Server

// StartCluster starts so many masters, assigns each an equal range of slots, and waits
// until all of them consider the cluster complete.
func StartCluster(t testing.TB, masters int, args ...string) Cluster {
	t.Helper()
	ctx := context.Background()
	var c Cluster
	for range masters {
		c = append(c, Start(t, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000"}, args...)...))
	}
	for i, s := range c {
		client := s.Client()
		if err := client.ClusterAddSlotsRange(ctx, i*clusterSlots/masters, (i+1)*clusterSlots/masters-1).Err(); err != nil {
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
		testenv.Until(t, "the cluster is complete", func() bool {
			info := client.ClusterInfo(ctx).Val()
			nodes := strings.Count(client.ClusterNodes(ctx).Val(), "connected")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:"+strconv.Itoa(clusterSlots)) && nodes >= masters
		})
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

// MigrateSlot migrates a slot and its keys from one master to another, as redis-cli does.
func (c Cluster) MigrateSlot(t testing.TB, slot int, from, to *Server) {
	t.Helper()
	ctx := context.Background()
	f, g := from.Client(), to.Client()
	fid, err := f.ClusterMyID(ctx).Result()
	testenv.Check(t, err)
	gid, err := g.ClusterMyID(ctx).Result()
	testenv.Check(t, err)
	testenv.Check(t, g.Do(ctx, "cluster", "setslot", slot, "importing", fid).Err())
	testenv.Check(t, f.Do(ctx, "cluster", "setslot", slot, "migrating", gid).Err())
	host, port, _ := net.SplitHostPort(to.Addr)
	for {
		keys, err := f.ClusterGetKeysInSlot(ctx, slot, 100).Result()
		testenv.Check(t, err)
		if len(keys) == 0 {
			break
		}
		args := []any{"migrate", host, port, "", 0, 5000, "keys"}
		for _, k := range keys {
			args = append(args, k)
		}
		testenv.Check(t, f.Do(ctx, args...).Err())
	}
	for _, s := range []*Server{to, from} {
		testenv.Check(t, s.Client().Do(ctx, "cluster", "setslot", slot, "node", gid).Err())
	}
}
