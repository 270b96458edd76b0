package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// A machine is where a report was made: figures from two machines do not compare.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Tmpfs      bool   `json:"tmpfs"`      // whether the stores lay on one
	LoadBefore string `json:"loadBefore"` // load averages: others at work make the figures worse
	LoadAfter  string `json:"loadAfter"`
}

// describeMachine describes this machine, for a run whose stores are made in dir.
func describeMachine(dir string) machine {
	return machine{
		CPU:        cpuModel(),
		Cores:      runtime.NumCPU(),
		Kernel:     firstLine("/proc/sys/kernel/osrelease"),
		Go:         runtime.Version(),
		Tmpfs:      onTmpfs(dir),
		LoadBefore: loadAverage(),
	}
}

func (m machine) String() string {
	files := "stores on tmpfs"
	if !m.Tmpfs {
		files = "stores NOT ON TMPFS"
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, %s; load average %s before, %s after",
		m.CPU, m.Cores, m.Kernel, m.Go, files, m.LoadBefore, m.LoadAfter)
}

func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

// loadAverage returns the number of processes that wanted to run, on average over the last minute.
func loadAverage() string {
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	return load
}

func onTmpfs(dir string) bool {
	const tmpfsMagic = 0x01021994
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && int64(fs.Type) == tmpfsMagic
}

func firstLine(path string) string {
	content, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(content), "\n")
	return line
}
