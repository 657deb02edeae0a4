import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    // What is awaited comes when it comes: the bound is for what never comes, not for a busy machine.
    expect: { poll: { timeout: 20_000 } },
    // Hooks start servers, on machines that may be busy.
    hookTimeout: 60_000,
    globalSetup: ['test/server/setup.ts'],
    // Many files mostly wait for processes and servers: one worker a core, where vitest would keep a core free.
    maxWorkers: '100%',
  },
})
