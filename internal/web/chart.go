package web

import (
	"time"

	"github.com/picket-edr/picket/internal/store"
)

// A chart is a bar chart with a stacked bar for each minute, of chartWidth by
// chartHeight pixels.
type chart struct {
	Bars         []chartBar
	Max, Total   int64
	Start, End   time.Time
	Width        int
	Height, Base int
}

type chartBar struct {
	X, Y, W, H float64
	Class      string
	Label      string
}

const (
	chartWidth  = 600
	chartHeight = 120
)

// stackedChart returns a chart of the values that pick returns for each minute. The
// first of keys is on top of the stack.
func stackedChart(start time.Time, n int, minutes []store.MinuteCounts, pick func(store.MinuteCounts) map[string]int64, keys []string) chart {
	c := chart{Start: start, End: start.Add(time.Duration(n) * time.Minute), Width: chartWidth, Height: chartHeight, Base: chartHeight}
	sums := make([]int64, n)
	for _, m := range minutes {
		i := int(m.Start.Sub(start) / time.Minute)
		if i < 0 || i >= n {
			continue
		}
		for _, v := range pick(m) {
			sums[i] += v
			c.Total += v
		}
		c.Max = max(c.Max, sums[i])
	}
	if c.Max == 0 {
		return c
	}
	step := float64(chartWidth) / float64(n)
	for _, m := range minutes {
		i := int(m.Start.Sub(start) / time.Minute)
		if i < 0 || i >= n {
			continue
		}
		y, values := float64(chartHeight), pick(m)
		for k := len(keys) - 1; k >= 0; k-- {
			v := values[keys[k]]
			if v == 0 {
				continue
			}
			h := max(float64(v)/float64(c.Max)*(chartHeight-4), 1.5)
			y -= h
			c.Bars = append(c.Bars, chartBar{X: float64(i)*step + 1, Y: max(y, 0), W: step - 2, H: h, Class: keys[k],
				Label: m.Start.UTC().Format("15:04") + "  " + groupDigits(v) + " " + keys[k]})
		}
	}
	return c
}
