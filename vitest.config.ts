import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    // Hooks start servers, on machines that may be busy.
    hookTimeout: 60_000,
    globalSetup: ['test/server/setup.ts'],
    // Many files mostly wait for processes and servers: one worker a core, where vitest would keep a core free.
    maxWorkers: '100%',
  },
})
