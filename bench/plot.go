package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The titles of the plotted rows.
const (
	titleGet   = "get, copied"
	titleSet   = "overwrite, one a commit"
	titleChase = "memory latency: a chase of pointers"
	titleAlone = "get alone"
	titleRace  = "get beside a writer"
)

// writePlots draws the plots of the report into files of a directory.
func (r *report) writePlots(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		r.plotRow(filepath.Join(dir, "get.svg"), "Get, copied", titleGet),
		r.plotRow(filepath.Join(dir, "set.svg"), "Overwrite, one a commit", titleSet),
		r.plotLatencies(filepath.Join(dir, "latency.svg")),
	)
}

// plotRow draws the medians of one measurement, and the latency of memory, against the number of entries.
func (r *report) plotRow(file, title, work string) error {
	p := newPlot(title, r.Machine)
	p.X.Label.Text, p.Y.Label.Text = "entries", "ns"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	any := false
	for i, name := range r.Peers {
		if line := r.medians(work, name); len(line) > 0 {
			any = true
			if err := addLine(p, name, i, line, nil); err != nil {
				return err
			}
		}
	}
	if !any {
		return nil
	}
	if line := r.medians(titleChase, "memory"); len(line) > 0 {
		if err := addLine(p, "dependent load", len(r.Peers), line, dashes); err != nil {
			return err
		}
	}
	return save(p, file)
}

// medians returns the points of one peer's row at all sizes.
func (r *report) medians(work, name string) (points plotter.XYs) {
	for _, row := range r.Speed {
		if s, ok := row.Summary[name]; ok && row.Work == work {
			points = append(points, plotter.XY{X: float64(row.Entries), Y: s.Median})
		}
	}
	return points
}

// plotLatencies draws the distributions at the largest number of entries, against the number of nines of the
// percentile.
func (r *report) plotLatencies(file string) error {
	most := 0
	for _, row := range r.Latencies {
		if row.Work == titleRace || row.Work == titleAlone {
			most = max(most, row.Entries)
		}
	}
	if most == 0 {
		return nil
	}
	p := newPlot(fmt.Sprintf("Get beside a writer flat out (dashed: without), %d entries", most), r.Machine)
	p.X.Label.Text, p.Y.Label.Text = "percentile", "ns"
	p.X.Tick.Marker = plot.ConstantTicks{
		{Value: 0, Label: "0"}, {Value: 1, Label: "90"}, {Value: 2, Label: "99"}, {Value: 3, Label: "99.9"},
		{Value: 4, Label: "99.99"}, {Value: 5, Label: "99.999"},
	}
	for i, name := range r.Peers {
		legend := name
		for _, work := range []string{titleRace, titleAlone} {
			row := r.latencies(work, most, name)
			if row == nil {
				continue
			}
			points, err := row.points()
			if err != nil {
				return err
			}
			style := dashes
			if work == titleRace {
				style = nil
			}
			if err := addLine(p, legend, i, points, style); err != nil {
				return err
			}
			legend = ""
		}
	}
	return save(p, file)
}

// points returns latencies at 0 to 5 nines, as far as there are enough samples.
func (l *latencyRow) points() (points plotter.XYs, err error) {
	h, err := histogramOf(l.Nanos)
	if err != nil {
		return nil, err
	}
	for nines := 0.0; nines <= 5 && math.Pow(10, nines) < float64(h.TotalCount())/10; nines += 0.125 {
		percentile := 100 * (1 - math.Pow(10, -nines))
		points = append(points, plotter.XY{X: nines, Y: float64(max(1, h.ValueAtQuantile(percentile)))})
	}
	return points, nil
}

var dashes = []vg.Length{4, 3}

// newPlot returns an empty plot with a logarithmic y axis. Its title names the machine.
func newPlot(title string, m machine) *plot.Plot {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s\n%s, %d cores, Linux %s, commit %s", title, m.CPU, m.Cores, m.Kernel, m.Commit)
	p.Title.Padding = 6
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Left, p.Legend.Top, p.Legend.Padding = true, true, 2
	p.BackgroundColor = color.White
	p.Add(plotter.NewGrid())
	return p
}

// colors are easy to distinguish, for most people with colour blindness too. The first one is that of the store.
var colors = []color.RGBA{
	{0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x72, 0xb2, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
	{0x56, 0xb4, 0xe9, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x66, 0x66, 0x66, 0xff}, {0x8c, 0x56, 0x4b, 0xff},
	{0x94, 0x67, 0xbd, 0xff}, {0xb5, 0xbd, 0x22, 0xff}, {0x17, 0xbe, 0xcf, 0xff}, {0x00, 0x00, 0x00, 0xff}, {0x99, 0x99, 0x33, 0xff},
}

// addLine adds a line of the i-th color, with dots if it is not dashed.
func addLine(p *plot.Plot, legend string, i int, points plotter.XYs, style []vg.Length) error {
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = colors[i%len(colors)], 1.5, style
	dots.Color, dots.Shape, dots.Radius = line.Color, draw.CircleGlyph{}, 2
	p.Add(line)
	if style == nil && len(points) < 10 {
		p.Add(dots)
	}
	if legend != "" {
		p.Legend.Add(legend, line)
	}
	return nil
}

// save writes a plot with its legend on the right.
func save(p *plot.Plot, file string) error {
	const width, height, right = 21 * vg.Centimeter, 12 * vg.Centimeter, 5 * vg.Centimeter
	canvas := vgsvg.New(width, height)
	whole := draw.New(canvas)
	whole.SetColor(p.BackgroundColor)
	whole.Fill(whole.Rectangle.Path())
	legend := p.Legend
	p.Legend = plot.NewLegend()
	p.Draw(draw.Crop(whole, 0, -right, 0, 0))
	legend.Draw(draw.Crop(whole, width-right+vg.Centimeter/2, 0, 0, -1.5*vg.Centimeter))

	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}
