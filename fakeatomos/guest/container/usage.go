package container

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// freshness is for how long what was measured is told again.
const freshness = time.Second

// usage is what was measured last of a guest; at first nothing, at its boot.
type usage struct {
	mu                   sync.Mutex
	at                   time.Time
	busy                 uint64 // nanoseconds of processors since the container's start
	cpuMillis, memoryMiB int64
}

// Usage returns what the kernel counts: processors since the last time that it was
// asked, memory without what are only cached files. It is nothing where the engine
// does not tell.
func (g *Guests) Usage(id string) (cpuMillis, memoryMiB int64) {
	r := g.running(id)
	if r == nil {
		return 0, 0
	}
	u := &r.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	since := time.Since(u.at)
	if since < freshness && u.memoryMiB > 0 {
		return u.cpuMillis, u.memoryMiB
	}
	stats, err := g.stats(r)
	if err != nil {
		g.options.Log.Debug("usage of a guest", "vm", id, "err", err)
		return 0, 0
	}
	if stats.CPUStats.CPUUsage.TotalUsage < u.busy { // it has rebooted
		u.busy = 0
	}
	u.cpuMillis = int64(stats.CPUStats.CPUUsage.TotalUsage-u.busy) * 1000 / max(int64(since), 1)
	u.at, u.busy = u.at.Add(since), stats.CPUStats.CPUUsage.TotalUsage
	u.memoryMiB = int64(stats.MemoryStats.Usage-min(cached(stats.MemoryStats), stats.MemoryStats.Usage)) >> 20
	return u.cpuMillis, u.memoryMiB
}

// cached is what of a guest's memory are files that nobody has open for long; its
// name depends on the version of cgroups.
func cached(m container.MemoryStats) uint64 {
	if v, ok := m.Stats["total_inactive_file"]; ok {
		return v
	}
	return m.Stats["inactive_file"]
}

func (g *Guests) stats(r *run) (stats container.StatsResponse, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	answer, err := g.api.ContainerStats(ctx, r.container, client.ContainerStatsOptions{})
	if err != nil {
		return stats, err
	}
	defer answer.Body.Close()
	return stats, json.NewDecoder(answer.Body).Decode(&stats)
}
